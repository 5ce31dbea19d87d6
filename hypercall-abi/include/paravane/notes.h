/* SPDX-License-Identifier: MIT */
/*
 * ELF notes of a guest kernel, owner "Paravane".  ABI, ENTRY and VIRTUAL_BASE must be there.
 * Segments are loaded at their p_paddr; a kernel is linked so that virtual = VIRTUAL_BASE + p_paddr for all
 * that runs before it makes its own page tables.
 */
#ifndef PARAVANE_NOTES_H
#define PARAVANE_NOTES_H

#define PVN_NOTE_OWNER		"Paravane"

#define PVN_NOTE_ABI		1	/* uint64_t: PVN_ABI_VERSION it was built for */
#define PVN_NOTE_ENTRY		2	/* uint64_t: virtual address of the first instruction */
#define PVN_NOTE_VIRTUAL_BASE	3	/* uint64_t: multiple of 1 GiB, outside the slot */
#define PVN_NOTE_DIRECT_MAP	4	/* uint64_t: multiple of 512 GiB: map all RAM there too, in its own L4 entries */
#define PVN_NOTE_FEATURES	5	/* uint64_t: PVN_FEATURE_... the kernel can use */

#define PVN_FEATURE_PRIVILEGED	1	/* can run as dom0 */

#endif
