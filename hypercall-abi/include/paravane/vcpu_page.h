/* SPDX-License-Identifier: MIT */
/*
 * The page through which one virtual CPU and the hypervisor talk without hypercalls.  It is always mapped at
 * PVN_SLOT_VCPU_PAGE.  The guest may write all of it at any time; Paravane reads each field once and uses it
 * only as something that the guest could have chosen anyway.  docs/abi/vcpu-page.md
 */
#ifndef PARAVANE_VCPU_PAGE_H
#define PARAVANE_VCPU_PAGE_H

#include "base.h"

/* Entry of the trap table.  handler 0: the vector has none; a trap to it ends the domain. */
struct pvn_trap {
	uint64_t handler;		/* ring-1 address, canonical, outside the slot */
	uint32_t flags;			/* PVN_TRAP_... */
	uint32_t reserved;		/* zero */
};
PVN_ASSERT_SIZE(struct pvn_trap, 16);

#define PVN_TRAP_MASK_EVENTS	1	/* events are masked on entry (an interrupt gate) */
#define PVN_TRAP_FROM_USER	2	/* ring 3 may raise it by `int n` (vectors 3, 4 and 0x80 only) */

#define PVN_TRAP_COUNT		33	/* vectors 0 to 31, then `int $0x80` */
#define PVN_TRAP_INT80		32

/* Time.  The layout of Linux's pvclock_vcpu_time_info: ns = system_time + ((tsc - tsc_timestamp) << shift) * mul >> 32. */
struct pvn_time {
	uint32_t version;		/* odd while being written */
	uint32_t reserved0;
	uint64_t tsc_timestamp;		/* ticks */
	uint64_t system_time;		/* ns since the start of Paravane */
	uint32_t tsc_to_system_mul;	/* 0.32 fixed point */
	int8_t tsc_shift;		/* negative: to the right */
	uint8_t flags;
	uint8_t reserved1[2];
};
PVN_ASSERT_SIZE(struct pvn_time, 32);
PVN_ASSERT_OFFSET(struct pvn_time, tsc_to_system_mul, 24);

#define PVN_RUNSTATE_RUNNING	0
#define PVN_RUNSTATE_RUNNABLE	1	/* waiting for a CPU: steal time */
#define PVN_RUNSTATE_BLOCKED	2
#define PVN_RUNSTATE_OFFLINE	3

struct pvn_runstate {
	uint32_t version;		/* odd while being written */
	uint32_t state;			/* PVN_RUNSTATE_... */
	uint64_t since;			/* system time at which the state was entered, ns */
	uint64_t time[4];		/* ns spent in each state before `since` */
};
PVN_ASSERT_SIZE(struct pvn_runstate, 48);

struct pvn_vcpu_page {
	uint8_t event_mask;		/* the virtual interrupt flag, inverted: non-zero masks upcalls */
	uint8_t event_pending;		/* set by Paravane when an upcall is due */
	uint8_t reserved0[2];
	uint32_t vcpu_id;
	uint64_t pending_words;		/* bit n: word n of pvn_domain_page.event_pending has something for this vCPU */
	uint64_t fault_address;		/* CR2 of the last page fault delivered */
	uint64_t kernel_sp;		/* stack for entries from ring 3 */
	uint64_t kernel_gs_base;	/* GS base on every entry from ring 3 */
	uint64_t user_gs_base;		/* GS base of ring 3: saved on entry, loaded by return_from_trap */
	uint64_t syscall_entry;		/* 64-bit SYSCALL: RCX, R11, RSP as the CPU left them, events masked */
	uint64_t compat_syscall_entry;	/* SYSCALL from 32-bit code; 0: none (#UD) */
	uint64_t sysenter_entry;	/* SYSENTER; 0: none (#UD) */
	uint64_t event_entry;		/* upcall: frame without error code, events masked */
	uint64_t reserved1[6];
	struct pvn_time time;
	struct pvn_runstate runstate;
	uint64_t timer_deadline;	/* system time ns at which PVN_VIRQ_TIMER is wanted; 0: never */
	uint64_t timer_look;		/* when Paravane looks at timer_deadline by itself; 0: not.  docs/abi/time.md */
	uint64_t timer_interval;	/* ns after a deadline at which the next one is likely: a look is then made.  0: none */
	uint8_t reserved2[24];
	struct pvn_trap trap[PVN_TRAP_COUNT];
	uint8_t reserved3[3312];
};
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, event_pending, 1);
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, pending_words, 8);
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, fault_address, 16);
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, kernel_sp, 24);
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, kernel_gs_base, 32);
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, user_gs_base, 40);
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, syscall_entry, 48);
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, compat_syscall_entry, 56);
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, sysenter_entry, 64);
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, event_entry, 72);
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, time, 128);
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, runstate, 160);
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, timer_deadline, 208);
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, timer_look, 216);
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, timer_interval, 224);
PVN_ASSERT_OFFSET(struct pvn_vcpu_page, trap, 256);
PVN_ASSERT_SIZE(struct pvn_vcpu_page, PVN_PAGE_SIZE);

#endif
