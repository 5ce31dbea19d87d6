/* SPDX-License-Identifier: MIT */
/* Grants: a domain lets another one use a frame of its own.  docs/abi/grant.md */
#ifndef PARAVANE_GRANT_H
#define PARAVANE_GRANT_H

#include "base.h"

/*
 * A grant table is up to PVN_GRANT_PAGES pages of the granter's, each of PVN_GRANTS_PER_PAGE words; the number of a word is the
 * grant's reference.  The granter writes a whole word at a time, atomically.  Paravane sets and clears PVN_GRANT_READING and
 * PVN_GRANT_WRITING: so the granter takes a grant back by a compare-and-exchange of the word without them for 0.
 */
#define PVN_GRANT_PAGES		32
#define PVN_GRANTS_PER_PAGE	512
#define PVN_GRANT_NONE		0xffffffff	/* names no grant */

#define PVN_GRANT_VALID		0x1
#define PVN_GRANT_READ_ONLY	0x2
#define PVN_GRANT_READING	0x4	/* mapped for reading, or being read */
#define PVN_GRANT_WRITING	0x8	/* likewise for writing */
#define PVN_GRANT_IN_USE	(PVN_GRANT_READING | PVN_GRANT_WRITING)
#define PVN_GRANT_RESERVED	0xfff0
#define PVN_GRANT_DOMAIN_SHIFT	16	/* 16 bits: who may use it */
#define PVN_GRANT_PFN_SHIFT	32	/* 32 bits: the granter's frame */

#define PVN_GRANT_SET_TABLE	0x400	/* a0: index of the page, one more than the last, a1: pfn */
#define PVN_GRANT_MAP		0x401	/* a0: struct pvn_grant_map[a1], a1 <= PVN_GRANT_BATCH.  Number that failed */
#define PVN_GRANT_UNMAP		0x402	/* a0: struct pvn_grant_unmap[a1], likewise */
#define PVN_GRANT_COPY		0x403	/* a0: struct pvn_grant_copy[a1], likewise */
#define PVN_GRANT_QUERY		0x404	/* a0: domain, oneself unless privileged, a1: struct pvn_grant_info * */

#define PVN_GRANT_BATCH		512

#define PVN_GRANT_MAP_READ_ONLY	1
#define PVN_GRANT_MAP_USER	2	/* ring 3 may use the mapping */

struct pvn_grant_map {
	uint16_t domain;		/* the granter */
	uint16_t flags;			/* PVN_GRANT_MAP_... */
	uint32_t ref;
	uint64_t address;		/* page, with a level-1 table and nothing there yet */
	uint32_t handle;		/* out: names the mapping */
	int32_t status;			/* out: 0 or -PVN_E_... */
};
PVN_ASSERT_SIZE(struct pvn_grant_map, 24);

struct pvn_grant_unmap {
	uint32_t handle;
	int32_t status;			/* out */
};
PVN_ASSERT_SIZE(struct pvn_grant_unmap, 8);

#define PVN_GRANT_COPY_TO	1	/* into the granted frame; else out of it */

struct pvn_grant_copy {
	uint64_t local;			/* guest-physical address, the caller's own */
	uint32_t ref;
	uint16_t domain;		/* the granter */
	uint16_t flags;			/* PVN_GRANT_COPY_TO */
	uint16_t offset;		/* in the granted frame */
	uint16_t bytes;			/* 1 to a page; ends in the same page, on both sides */
	int32_t status;			/* out */
};
PVN_ASSERT_SIZE(struct pvn_grant_copy, 24);

struct pvn_grant_info {
	uint32_t pages;			/* of its own table */
	uint32_t in_use;		/* of its grants: mappings, and copies at this moment */
	uint32_t handles;		/* of grants of others that it has mapped */
	uint32_t reserved;
};
PVN_ASSERT_SIZE(struct pvn_grant_info, 16);

#endif
