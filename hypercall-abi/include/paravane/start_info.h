/* SPDX-License-Identifier: MIT */
/*
 * What a guest kernel finds when it starts: ring 1, 64-bit mode, RSI = virtual address of struct
 * pvn_start_info, RSP = top of a one-page stack, events masked, DF clear, GS base 0, on page tables of its
 * own that are promoted already.  docs/abi/start.md
 */
#ifndef PARAVANE_START_INFO_H
#define PARAVANE_START_INFO_H

#include "base.h"

#define PVN_START_MAGIC		0x31656e6176617250	/* "Pravane1" */

#define PVN_START_PRIVILEGED	1	/* dom0: frames one to one, hardware access */

#define PVN_MAP_RAM		1	/* the domain's own memory */
#define PVN_MAP_RESERVED	2	/* not the domain's: firmware's, Paravane's or another domain's */
#define PVN_MAP_ACPI		3
#define PVN_MAP_NVS		4

struct pvn_map_entry {
	uint64_t pfn;
	uint64_t count;			/* frames */
	uint32_t type;			/* PVN_MAP_... */
	uint32_t reserved;
};
PVN_ASSERT_SIZE(struct pvn_map_entry, 24);

#define PVN_START_MAP_ENTRIES	64
#define PVN_COMMAND_LINE_SIZE	1024	/* with the final NUL */

struct pvn_start_info {
	uint64_t magic;			/* PVN_START_MAGIC */
	uint32_t abi_version;		/* PVN_ABI_VERSION of the hypervisor */
	uint32_t flags;			/* PVN_START_... */
	uint16_t domain_id;
	uint16_t reserved0;
	uint32_t vcpus;			/* to bring up at the start: vCPUs 0 to vcpus - 1 */
	uint64_t frames;		/* RAM frames of this domain */
	uint64_t virtual_base;		/* from the kernel's note: virtual = virtual_base + physical */
	uint64_t direct_map_base;	/* from the note, or 0: the same for all of the domain's RAM */
	/*
	 * One run of pfns, all mapped at virtual_base (and in the direct map): kernel image, then start info,
	 * stack, page tables.  Everything from first_free_pfn to mapped_end_pfn is free and mapped.
	 */
	uint64_t start_info_pfn;
	uint64_t stack_pfn;
	uint64_t tables_pfn;		/* page tables; the first is the root */
	uint64_t tables_count;
	uint64_t first_free_pfn;
	uint64_t mapped_end_pfn;
	/* Not in that run; in the direct map only. */
	uint64_t initrd_address;	/* guest-physical, page aligned; 0: none */
	uint64_t initrd_size;		/* bytes */
	uint64_t acpi_rsdp;		/* guest-physical; 0: none */
	uint64_t tsc_khz;
	uint32_t console_port;		/* event port of the domain's console ring, 0: none */
	uint32_t map_entries;
	uint64_t console_pfn;		/* frame of the console ring */
	uint64_t store_pfn;		/* frame of the store ring; 0: none */
	uint32_t store_port;
	uint32_t max_vcpus;		/* all it has; those from `vcpus` on are for PVN_VIRQ_VCPUS to ask for */
	uint8_t reserved2[80];
	struct pvn_map_entry map[PVN_START_MAP_ENTRIES];
	char command_line[PVN_COMMAND_LINE_SIZE];
};
PVN_ASSERT_OFFSET(struct pvn_start_info, frames, 24);
PVN_ASSERT_OFFSET(struct pvn_start_info, start_info_pfn, 48);
PVN_ASSERT_OFFSET(struct pvn_start_info, initrd_address, 96);
PVN_ASSERT_OFFSET(struct pvn_start_info, console_port, 128);
PVN_ASSERT_OFFSET(struct pvn_start_info, map, 240);
PVN_ASSERT_OFFSET(struct pvn_start_info, command_line, 1776);
PVN_ASSERT_SIZE(struct pvn_start_info, 2800);

#endif
