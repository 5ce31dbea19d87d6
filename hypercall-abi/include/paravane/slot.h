/* SPDX-License-Identifier: MIT */
/*
 * The Paravane slot: the one entry (256) of every top-level page table that belongs to the hypervisor.
 * All of it is supervisor only.  docs/memory-map.md
 */
#ifndef PARAVANE_SLOT_H
#define PARAVANE_SLOT_H

#define PVN_SLOT_INDEX		256
#define PVN_SLOT_BASE		0xffff800000000000
#define PVN_SLOT_END		0xffff808000000000

#define PVN_SLOT_TEXT		0xffff800000000000	/* entry stubs                     R-X  the same in all     */
#define PVN_SLOT_VDSO		0xffff800000010000	/* guest vDSO, one page            R-X  the same in all     */
#define PVN_SLOT_CPU_TABLES	0xffff800000020000	/* GDT, IDT, TSS with I/O bitmap   R--  this CPU            */
#define PVN_SLOT_ENTRY_STACKS	0xffff800000040000	/* entry and IST stacks, scratch   RW-  this CPU            */
#define PVN_SLOT_VCPU_PAGE	0xffff800000080000	/* struct pvn_vcpu_page            RW-  the running vCPU    */
#define PVN_SLOT_DOMAIN_PAGE	0xffff800000090000	/* struct pvn_domain_page          RW-  the running domain  */
#define PVN_SLOT_P2M		0xffff804000000000	/* uint64_t mfn[pfn]               R--  the running domain  */
#define PVN_SLOT_M2P		0xffff806000000000	/* uint64_t pfn[mfn]               R--  the same in all     */

/* In P2M: this pfn has no frame.  In M2P: this mfn belongs to no domain. */
#define PVN_NO_FRAME		0xffffffffffffffff

/*
 * Selectors, with the numbers that Linux uses on bare metal.  The guest kernel's own are shown like this in every
 * frame that a guest sees; in the registers CS has RPL 1, and SS is null (64-bit code of a kernel needs none).
 */
#define PVN_KERNEL_CS		0x10
#define PVN_KERNEL_SS		0x18
#define PVN_USER_CS32		0x23
#define PVN_USER_SS		0x2b
#define PVN_USER_CS		0x33

/* Entries of the GDT that a guest may set: three for TLS, one for the CPU number. */
#define PVN_GDT_FIRST_OWN	12
#define PVN_GDT_LAST_OWN	15

#endif
