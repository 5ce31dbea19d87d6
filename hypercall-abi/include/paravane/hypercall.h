/* SPDX-License-Identifier: MIT */
/*
 * Hypercall numbers: family << 8 | operation.  RAX = number, RDI RSI RDX R10 R8 R9 = arguments a0 to a5,
 * through PVN_VDSO_HYPERCALL.  RAX = result, negative: -PVN_E_... (errors.h).  Addresses in arguments are
 * guest-virtual and 8-byte aligned; frames are pfns unless a name says mfn; what is called reserved is zero.
 * An unknown number is -PVN_E_NOT_IMPLEMENTED.  docs/abi/ has a page for each call.
 */
#ifndef PARAVANE_HYPERCALL_H
#define PARAVANE_HYPERCALL_H

#include "base.h"
#include "domain_page.h"
#include "errors.h"
#include "grant.h"
#include "notes.h"
#include "slot.h"
#include "start_info.h"
#include "vcpu_page.h"
#include "vdso.h"

/* --- mmu ------------------------------------------------------------------------------------------------- */
#define PVN_MMU_QUEUE		0x100	/* a0: struct pvn_mmu_op[a1]; a1 <= PVN_MMU_QUEUE_MAX.  0 or the first error,
					   which also stands in that op's `result`; ops after it are not done */
#define PVN_MMU_UPDATE_VA	0x101	/* a0: virtual address, a1: new leaf entry, a2: PVN_MMU_INVALIDATE or 0 */
#define PVN_MMU_SET_ROOT	0x102	/* a0: pfn of a promoted level-4 table.  Flushes this vCPU's translations */
#define PVN_MMU_FLUSH		0x103	/* flush this vCPU's translations */
#define PVN_MMU_INVALIDATE_PAGE	0x104	/* a0: virtual address, this vCPU */
#define PVN_MMU_FLUSH_VCPUS	0x105	/* a0: bit mask of vCPUs 0 to 63, a1: address or PVN_MMU_FLUSH_ALL */
#define PVN_MMU_WRITE		0x106	/* a0: guest-physical address of an entry, a1: new entry, a2: PVN_MMU_KEEP_AD or 0 */

#define PVN_MMU_QUEUE_MAX	4096
#define PVN_MMU_RUN_MAX		64
#define PVN_MMU_FLUSH_ALL	0xffffffffffffffff

enum {
	PVN_MMU_OP_WRITE = 0,		/* target: guest-physical address of the entry (8-byte aligned), value: entry */
	PVN_MMU_OP_PROMOTE = 1,		/* target: pfn, value: level 1 to 4 */
	PVN_MMU_OP_DEMOTE = 2,		/* target: pfn */
	PVN_MMU_OP_SET_ROOT = 3,	/* target: pfn */
	PVN_MMU_OP_FLUSH = 4,
	PVN_MMU_OP_INVALIDATE = 5,	/* target: virtual address */
	PVN_MMU_OP_FLUSH_VCPUS = 6,	/* target: mask, value: address or PVN_MMU_FLUSH_ALL */
	PVN_MMU_OP_WRITE_RUN = 7,	/* target: address of the first of `count` neighbouring entries of one table,
					   value: virtual address of uint64_t entry[count]; count <= PVN_MMU_RUN_MAX.
					   Out, if it failed: what is left, beginning with the entry that was refused */
};

#define PVN_MMU_KEEP_AD		1	/* OP_WRITE, OP_WRITE_RUN, WRITE: keep accessed and dirty bits that the CPU set in the old entry */
#define PVN_MMU_INVALIDATE	2	/* UPDATE_VA: and invalidate that address on this vCPU */

struct pvn_mmu_op {
	uint32_t kind;
	uint32_t flags;
	uint64_t target;
	uint64_t value;			/* entries hold mfns */
	int32_t result;			/* out, written for the op that failed only */
	uint32_t count;			/* WRITE_RUN only, else 0 */
};
PVN_ASSERT_SIZE(struct pvn_mmu_op, 32);

/* --- memory ---------------------------------------------------------------------------------------------- */
#define PVN_MEMORY_POPULATE	0x200	/* a0: uint64_t pfn[a1].  Gives each a zeroed frame; number done, or error if none */
#define PVN_MEMORY_GIVE_BACK	0x201	/* a0: uint64_t pfn[a1].  Number done, or error if none */
#define PVN_MEMORY_QUERY	0x202	/* a0: struct pvn_memory_info * */
#define PVN_MEMORY_MAP_FOREIGN	0x203	/* privileged.  a0: struct pvn_map_foreign * */

struct pvn_memory_info {
	uint64_t frames;		/* the domain has now */
	uint64_t limit;			/* it may have */
	uint64_t p2m_frames;		/* pfns are below this */
	uint64_t host_free;		/* privileged callers: free frames of the machine; others: 0 */
};
PVN_ASSERT_SIZE(struct pvn_memory_info, 32);

/* Maps frames of another domain at consecutive pages from `address`, whose level-1 tables exist. */
struct pvn_map_foreign {
	uint16_t domain;
	uint16_t flags;			/* PVN_MAP_READ_ONLY */
	uint32_t count;			/* pages, at most 512 */
	uint64_t address;
	uint64_t pfns;			/* address of uint64_t[count]: pfns of that domain; PVN_NO_FRAME unmaps */
};
PVN_ASSERT_SIZE(struct pvn_map_foreign, 24);
#define PVN_MAP_READ_ONLY	1

/* --- event ----------------------------------------------------------------------------------------------- */
#define PVN_EVENT_ALLOC		0x300	/* a0: domain that may bind to it.  Port */
#define PVN_EVENT_BIND_DOMAIN	0x301	/* a0: domain, a1: its port, offered to us.  Port */
#define PVN_EVENT_BIND_VIRQ	0x302	/* a0: PVN_VIRQ_..., a1: vcpu.  Port */
#define PVN_EVENT_BIND_IPI	0x303	/* a0: vcpu.  Port */
#define PVN_EVENT_BIND_IRQ	0x304	/* privileged.  a0: irq from PVN_PHYS_MAP_*.  Port; stays masked in hardware until EOI */
#define PVN_EVENT_CLOSE		0x305	/* a0: port */
#define PVN_EVENT_SEND		0x306	/* a0: port (interdomain or IPI) */
#define PVN_EVENT_UNMASK	0x307	/* a0: port.  Clears its mask bit; raises the upcall if it is pending */
#define PVN_EVENT_STATUS	0x308	/* a0: struct pvn_event_status * */
#define PVN_EVENT_BIND_VCPU	0x309	/* a0: port, a1: vcpu that is to be notified */

#define PVN_VIRQ_TIMER		0	/* per vCPU */
#define PVN_VIRQ_DEBUG		1	/* per vCPU: the debug key */
#define PVN_VIRQ_CONSOLE	2	/* dom0: input on the hypervisor's console */
#define PVN_VIRQ_DOMAIN		3	/* dom0: a domain changed its state */
#define PVN_VIRQ_POWER		4	/* vCPU 0: pvn_domain_page.power_request asks to switch off or to reboot */
#define PVN_VIRQ_VCPUS		5	/* vCPU 0: pvn_domain_page.vcpus_request asks for another number of vCPUs online */
#define PVN_VIRQ_COUNT		6

#define PVN_PORT_CLOSED		0
#define PVN_PORT_UNBOUND	1
#define PVN_PORT_INTERDOMAIN	2
#define PVN_PORT_VIRQ		3
#define PVN_PORT_IPI		4
#define PVN_PORT_IRQ		5

struct pvn_event_status {
	uint32_t port;			/* in */
	uint32_t state;			/* PVN_PORT_... */
	uint32_t vcpu;
	uint16_t remote_domain;		/* UNBOUND: who may bind; INTERDOMAIN: the other end */
	uint16_t reserved;
	uint32_t remote_port;		/* INTERDOMAIN: port; VIRQ, IRQ: its number */
	uint32_t pending;
};
PVN_ASSERT_SIZE(struct pvn_event_status, 24);

/* --- sched ----------------------------------------------------------------------------------------------- */
#define PVN_SCHED_YIELD		0x500
#define PVN_SCHED_BLOCK		0x501	/* unmask events and wait for one; returns at once if one is pending */
#define PVN_SCHED_SHUTDOWN	0x502	/* a0: PVN_SHUTDOWN_...; does not return */
#define PVN_SCHED_POLL		0x503	/* a0: uint32_t port[a1], a1 <= 64, a2: deadline in system time ns, 0: none.
					   Waits, events as masked as they are, until one of the ports is pending */
#define PVN_SCHED_WAIT		0x504	/* as BLOCK, but events stay as masked as they are.  a0: port that is sent to first, or 0;
					   before that a1: struct pvn_grant_copy[a2], then a3: uint32_t * that is set to a4; a2 0: neither */
#define PVN_SHUTDOWN_POWER_OFF	0
#define PVN_SHUTDOWN_REBOOT	1
#define PVN_SHUTDOWN_SUSPEND	2
#define PVN_SHUTDOWN_CRASH	3

/* --- vcpu ------------------------------------------------------------------------------------------------ */
#define PVN_VCPU_SET_TIMER	0x600	/* a0: deadline in system time ns; 0: stop.  A deadline in the past fires at once */
#define PVN_VCPU_SET_DESCRIPTOR	0x601	/* a0: GDT index (PVN_GDT_FIRST_OWN to PVN_GDT_LAST_OWN), a1: descriptor */
#define PVN_VCPU_SET_LDT	0x602	/* a0: virtual address of descriptors, page aligned, a1: entries; 0, 0: none */
#define PVN_VCPU_SET_DEBUG	0x603	/* a0: 0-3, 6, 7, a1: value */
#define PVN_VCPU_GET_DEBUG	0x604	/* a0: 0-3, 6, 7 */
#define PVN_VCPU_SET_XCR0	0x605	/* a0: value */
#define PVN_VCPU_INITIALISE	0x606	/* a0: vcpu, a1: struct pvn_vcpu_context * */
#define PVN_VCPU_UP		0x607	/* a0: vcpu */
#define PVN_VCPU_DOWN		0x608	/* a0: vcpu; oneself: does not return until brought up */
#define PVN_VCPU_QUERY		0x609	/* a0: vcpu.  PVN_RUNSTATE_... */
#define PVN_VCPU_SET_USER_GS	0x60a	/* a0: selector.  Loads it as GS of ring 3; user_gs_base follows it */
#define PVN_VCPU_SET_IO_BITMAP	0x60b	/* a0: bytes, a1: how many, at most 8192; a clear bit: ring 3 may use that port, if
					   the domain has it.  0, 0: none, as at the start */

struct pvn_vcpu_context {
	uint64_t rip, rsp, rflags;
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t fs_base, gs_base;
	uint64_t root_pfn;
	uint16_t cs, ss;		/* 0: the guest kernel's */
	uint32_t flags;			/* reserved: zero */
};
PVN_ASSERT_SIZE(struct pvn_vcpu_context, 176);

/* --- time ------------------------------------------------------------------------------------------------ */
#define PVN_TIME_SET_WALL_CLOCK	0x700	/* privileged.  a0: seconds since 1970, a1: ns, a2: system time at which that held */

/* --- phys (all privileged) --------------------------------------------------------------------------------- */
#define PVN_PHYS_MAP_GSI	0x800	/* a0: GSI, a1: PVN_GSI_... flags.  irq */
#define PVN_PHYS_UNMAP		0x801	/* a0: irq */
#define PVN_PHYS_EOI		0x802	/* a0: irq.  The device may interrupt again */
#define PVN_PHYS_MAP_MSI	0x803	/* a0: struct pvn_phys_msi *.  irq; address and data to be written to the device */
#define PVN_PHYS_IOAPIC_READ	0x804	/* a0: physical base of the I/O APIC, a1: register */

#define PVN_GSI_LEVEL		1
#define PVN_GSI_ACTIVE_LOW	2

struct pvn_phys_msi {
	uint64_t address;		/* out */
	uint32_t data;			/* out */
	uint32_t reserved;
};
PVN_ASSERT_SIZE(struct pvn_phys_msi, 16);

/* --- domain (all privileged) -------------------------------------------------------------------------------- */
#define PVN_DOMAIN_CREATE	0x900	/* a0: struct pvn_domain_create *.  Domain id; paused, without memory */
#define PVN_DOMAIN_DESTROY	0x901	/* a0: domain.  AGAIN until all is given back */
#define PVN_DOMAIN_PAUSE	0x902	/* a0: domain; counted */
#define PVN_DOMAIN_UNPAUSE	0x903	/* a0: domain */
#define PVN_DOMAIN_SET_CONTEXT	0x904	/* a0: domain, a1: vcpu, a2: struct pvn_vcpu_context * */
#define PVN_DOMAIN_GET_CONTEXT	0x905	/* a0: domain, a1: vcpu, a2: struct pvn_vcpu_context * */
#define PVN_DOMAIN_POPULATE	0x906	/* a0: domain, a1: first pfn, a2: count.  Number done, or error if none */
#define PVN_DOMAIN_INFO		0x907	/* a0: first domain id, a1: struct pvn_domain_info[a2].  Number filled */
#define PVN_DOMAIN_SET_LIMIT	0x908	/* a0: domain, a1: frames */
#define PVN_DOMAIN_SET_SCHED	0x909	/* a0: domain, a1: struct pvn_sched_parameters * */
#define PVN_DOMAIN_MMU_QUEUE	0x90a	/* a0: domain, a1: struct pvn_mmu_op[a2]: WRITE, WRITE_RUN, PROMOTE, DEMOTE only, as if by that
					   paused domain */
#define PVN_DOMAIN_GET_MFNS	0x90b	/* a0: domain, a1: first pfn, a2: uint64_t mfn[a3].  Number filled */
#define PVN_DOMAIN_EVENT_ALLOC	0x90c	/* a0: domain, a1: domain that may bind.  Port of a0 */
#define PVN_DOMAIN_AUDIT	0x90d	/* full audit of frame table against page tables.  Number of discrepancies */
#define PVN_DOMAIN_GET_TRAPS	0x90e	/* a0: domain, a1: struct pvn_trap_count[a2].  Number filled */
#define PVN_DOMAIN_REQUEST_POWER 0x90f	/* a0: domain, a1: PVN_SHUTDOWN_POWER_OFF or PVN_SHUTDOWN_REBOOT.  Asks the guest,
					   by PVN_VIRQ_POWER; NOT_LISTENING if it has not bound that */
#define PVN_DOMAIN_GET_SCHED	0x910	/* a0: domain, a1: struct pvn_sched_parameters * */

#define PVN_DOMAIN_VCPU_INFO	0x911	/* a0: domain, a1: vcpu, a2: struct pvn_vcpu_info * */
#define PVN_DOMAIN_SET_AFFINITY	0x912	/* a0: domain, a1: vcpu, a2: CPUs where it may run, a3: where it had better (bit masks) */
#define PVN_DOMAIN_REQUEST_VCPUS 0x913	/* a0: domain, a1: vCPUs to have online, 1 to all it has.  Asks the guest, by
					   PVN_VIRQ_VCPUS; NOT_LISTENING if it has not bound that */

#define PVN_DOMAIN_TAKE_TO_POOL	0x914	/* a0: domain, a1: pool of CPUs */

struct pvn_vcpu_info {
	uint32_t vcpu;
	uint32_t state;			/* PVN_RUNSTATE_... */
	uint32_t cpu;			/* its home: where it runs, or ran last */
	uint32_t reserved;
	uint64_t time[4];		/* ns in each PVN_RUNSTATE_... */
	uint64_t hard_affinity;		/* bit mask of CPUs */
	uint64_t soft_affinity;
	uint64_t hypercalls;
	uint64_t traps;			/* exceptions that took the full path */
	uint64_t interrupts;
	uint64_t emulated;		/* privileged instructions and stores to page tables */
};
PVN_ASSERT_SIZE(struct pvn_vcpu_info, 96);

struct pvn_domain_create {
	uint8_t uuid[16];
	uint64_t limit;			/* frames that it may have */
	uint64_t p2m_frames;		/* pfns are below this; at least limit */
	uint32_t vcpus;			/* 1 to 64 */
	uint32_t flags;			/* reserved: zero */
};
PVN_ASSERT_SIZE(struct pvn_domain_create, 40);

#define PVN_DOMAIN_PAUSED	1
#define PVN_DOMAIN_SHUT_DOWN	2	/* `reason` holds */
#define PVN_DOMAIN_DYING	4
#define PVN_DOMAIN_RUNNING	8	/* on a CPU now */
#define PVN_DOMAIN_BLOCKED	16

struct pvn_domain_info {
	uint16_t id;
	uint16_t flags;			/* PVN_DOMAIN_... */
	uint32_t reason;		/* PVN_SHUTDOWN_... */
	uint64_t frames;
	uint64_t limit;
	uint64_t cpu_time;		/* ns */
	uint16_t vcpus;
	uint16_t pool;
	uint32_t weight;
	uint8_t uuid[16];
	char last_words[128];		/* why Paravane ended it, NUL-terminated; empty if it did not */
	uint64_t rip, rsp;		/* of vCPU 0 when it was ended */
};
PVN_ASSERT_SIZE(struct pvn_domain_info, 200);

struct pvn_sched_parameters {
	uint32_t weight;		/* 1 to 65535 */
	uint32_t flags;			/* PVN_SCHED_WARP */
	uint64_t warp;			/* ns of virtual time */
	uint64_t warp_limit;		/* ns a vCPU may run warped; 0: no limit */
	uint64_t unwarp;		/* ns it must then wait before it may warp again */
};
PVN_ASSERT_SIZE(struct pvn_sched_parameters, 32);
#define PVN_SCHED_WARP		1

struct pvn_trap_count {
	uint64_t rip;
	uint64_t count;
	uint8_t bytes[16];		/* of the instruction, as far as they could be read */
};
PVN_ASSERT_SIZE(struct pvn_trap_count, 32);

/* --- system ------------------------------------------------------------------------------------------------- */
#define PVN_SYSTEM_VERSION	0xa00	/* PVN_ABI_VERSION */
#define PVN_SYSTEM_CONSOLE_WRITE 0xa01	/* a0: bytes, a1: length, at most 4096.  Bytes taken; rate-limited for domUs */
#define PVN_SYSTEM_CONSOLE_READ	0xa02	/* dom0.  a0: buffer, a1: its size.  Bytes read */
#define PVN_SYSTEM_INFO		0xa03	/* a0: struct pvn_system_info * */
#define PVN_SYSTEM_LOG_READ	0xa04	/* privileged.  a0: buffer, a1: size, a2: offset.  Bytes read */
#define PVN_SYSTEM_DEBUG_KEY	0xa05	/* privileged.  a0: character */

#define PVN_SYSTEM_CPU_INFO	0xa06	/* privileged.  a0: first CPU, a1: struct pvn_cpu_info[a2].  Number filled */
#define PVN_SYSTEM_SET_CPU	0xa07	/* privileged.  a0: CPU, a1: 0: runs no vCPUs any more, 1: does again */
#define PVN_SYSTEM_LOCKS	0xa08	/* privileged.  a0: struct pvn_lock_info[a1].  Number filled */
#define PVN_SYSTEM_TRACE	0xa09	/* privileged.  a0: mask of 1 << PVN_TRACE_...; 0: stop */
#define PVN_SYSTEM_TRACE_READ	0xa0a	/* privileged.  a0: CPU, a1: struct pvn_trace_record[a2].  Number taken */

/* CPU pools.  Pool 0 has a CPU always; domains are made there.  All privileged. */
#define PVN_SYSTEM_POOL_CREATE	0xa0b	/* a0: PVN_SCHED_POLICY_...  Number of the new pool; without CPUs */
#define PVN_SYSTEM_POOL_DESTROY	0xa0c	/* a0: pool, without CPUs and domains */
#define PVN_SYSTEM_POOL_INFO	0xa0d	/* a0: first pool, a1: struct pvn_pool_info[a2].  Number filled */
#define PVN_SYSTEM_POOL_TAKE_CPU 0xa0e	/* a0: pool, a1: CPU, from the pool in which it is */

#define PVN_SYSTEM_FAIL_ALLOCATION 0xa0f	/* privileged, for tests.  a0: which allocation of frames from now on fails, 1: the next;
					   0: none.  How many were left until the last one that was asked for; 0: it has failed */

#define PVN_SCHED_POLICY_BVT	0
#define PVN_SCHED_POLICY_RR	1
#define PVN_SCHED_POLICY_NULL	2

struct pvn_pool_info {
	uint32_t pool;
	uint32_t policy;		/* PVN_SCHED_POLICY_... */
	uint64_t cpus;			/* bit mask of those that run vCPUs */
	uint32_t domains;
	uint32_t reserved;
};
PVN_ASSERT_SIZE(struct pvn_pool_info, 24);

struct pvn_cpu_info {
	uint32_t cpu;
	uint32_t apic_id;
	uint16_t flags;			/* PVN_CPU_... */
	uint16_t pool;
	uint16_t domain;		/* of the vCPU that runs, if PVN_CPU_BUSY */
	uint16_t vcpu;
	uint32_t homes;			/* vCPUs that have their home here */
	uint32_t runnable;		/* of these; the running one too */
	uint64_t idle_time;		/* ns */
	uint64_t switches;		/* of vCPUs */
	uint64_t guest_exits;
};
PVN_ASSERT_SIZE(struct pvn_cpu_info, 48);
#define PVN_CPU_ONLINE	1
#define PVN_CPU_BUSY	2

struct pvn_lock_info {
	char name[24];
	uint64_t taken;			/* times */
	uint64_t waited;		/* times that it was not free at once */
	uint64_t rounds;		/* of the waiting loop, in all */
};
PVN_ASSERT_SIZE(struct pvn_lock_info, 48);

/* Each CPU keeps its latest PVN_TRACE_RECORDS records; older ones that nobody took are lost. */
struct pvn_trace_record {
	uint64_t time;			/* system time, ns */
	uint32_t event;			/* PVN_TRACE_... */
	uint16_t domain;		/* whose vCPU the CPU had; 0xffff: none */
	uint16_t vcpu;
	uint64_t a, b;
};
PVN_ASSERT_SIZE(struct pvn_trace_record, 32);
#define PVN_TRACE_RECORDS	2048

#define PVN_TRACE_ENTER		0	/* from a guest.  a: vector, 256: hypercall; b: RIP */
#define PVN_TRACE_LEAVE		1	/* to a guest */
#define PVN_TRACE_HYPERCALL	2	/* a: number, b: result */
#define PVN_TRACE_SWITCH	3	/* to the vCPU (a: domain, b: vcpu); a: 0xffff: idle */
#define PVN_TRACE_WAKE		4	/* a: domain, b: vcpu */
#define PVN_TRACE_FLUSH		5	/* of other CPUs; a: bit mask of those that were asked */
#define PVN_TRACE_MOVE		6	/* a vCPU came to this CPU.  a: domain, b: vcpu */
#define PVN_TRACE_WINDOW	7	/* in the middle of a hypercall interrupts were let in */
#define PVN_TRACE_EVENTS	8

struct pvn_system_info {
	uint32_t cpus;
	uint32_t domains;
	uint64_t frames;		/* RAM of the machine */
	uint64_t free_frames;		/* privileged; else 0 */
	uint64_t tsc_khz;
	uint64_t uptime;		/* system time, ns */
	char scheduler[16];
	char version[32];
};
PVN_ASSERT_SIZE(struct pvn_system_info, 88);

/* --- multi -------------------------------------------------------------------------------------------------- */
#define PVN_MULTI		0xb00	/* a0: struct pvn_call[a1], a1 <= 64.  Done in order, each whatever came of the
					   others; calls that do not return and PVN_MULTI are refused */
struct pvn_call {
	uint64_t number;
	int64_t result;			/* out */
	uint64_t argument[6];
};
PVN_ASSERT_SIZE(struct pvn_call, 64);

#endif
