/* SPDX-License-Identifier: MIT */
/* Requests to a block device and their answers: what stands in its rings.  docs/abi/block.md */
#ifndef PARAVANE_BLOCK_RING_H
#define PARAVANE_BLOCK_RING_H

#include "ring.h"

#define PVN_BLOCK_READ		0
#define PVN_BLOCK_WRITE		1
#define PVN_BLOCK_FLUSH		2	/* what was answered before is on the disk when this is answered */
#define PVN_BLOCK_DISCARD	3	/* `sectors` from `sector` on are of no use any more */

#define PVN_BLOCK_FUA		1	/* of a write: on the disk when it is answered */
#define PVN_BLOCK_INDIRECT	2	/* the segments stand in a granted page */

#define PVN_BLOCK_DIRECT	56	/* segments in the request itself */
#define PVN_BLOCK_SEGMENTS	256	/* at most, in one request */
#define PVN_BLOCK_QUEUES	16	/* at most, of one device */

/* Part of a granted page: whole sectors of the device. */
struct pvn_block_segment {
	uint32_t ref;
	uint16_t offset;
	uint16_t bytes;			/* 512 to 4096 */
};
PVN_ASSERT_SIZE(struct pvn_block_segment, 8);

struct pvn_block_request {
	uint64_t id;			/* comes back with the answer */
	uint64_t sector;		/* of 512 bytes, whatever the device's are */
	uint32_t sectors;		/* of a discard; else zero */
	uint8_t operation;		/* PVN_BLOCK_READ... */
	uint8_t flags;			/* PVN_BLOCK_FUA, ... */
	uint16_t segments;
	uint32_t indirect;		/* PVN_BLOCK_INDIRECT: reference of the page with the segments; else zero */
	uint32_t reserved;		/* zero */
	struct pvn_block_segment segment[PVN_BLOCK_DIRECT];
};
PVN_ASSERT_SIZE(struct pvn_block_request, 480);

struct pvn_block_answer {
	uint64_t id;
	int32_t status;			/* 0 or -PVN_E_...; -PVN_E_IO: the device could not */
	uint32_t reserved;
};
PVN_ASSERT_SIZE(struct pvn_block_answer, 16);

/*
 * In a ring of `pages` (1, 2, 4 or 8): after struct pvn_ring, PVN_BLOCK_SLOTS(pages) requests, then as many answers.
 * At most that many requests are not answered.
 */
#define PVN_BLOCK_SLOTS(pages)		(8u * (pages))
#define PVN_BLOCK_REQUEST_OFFSET(slot)	(sizeof(struct pvn_ring) + (slot) * sizeof(struct pvn_block_request))
#define PVN_BLOCK_ANSWER_OFFSET(pages, slot)	(PVN_BLOCK_REQUEST_OFFSET(PVN_BLOCK_SLOTS(pages)) + (slot) * sizeof(struct pvn_block_answer))
PVN_STATIC_ASSERT(PVN_BLOCK_ANSWER_OFFSET(1, PVN_BLOCK_SLOTS(1)) <= PVN_PAGE_SIZE, "a ring of one page");
PVN_STATIC_ASSERT(PVN_BLOCK_ANSWER_OFFSET(8, PVN_BLOCK_SLOTS(8)) <= 8 * PVN_PAGE_SIZE, "a ring of eight");

#endif
