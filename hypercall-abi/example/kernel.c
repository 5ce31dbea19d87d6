/* SPDX-License-Identifier: MIT */
/*
 * A kernel for Paravane that is as small as one can be and still is one: it has a console, traps, a timer, an event channel, page tables of its
 * own making, and a process in ring 3 that makes system calls.  It is meant to be read beside docs/porting-guide.md, whose steps it follows; it
 * is built and run by the tests (make test-guests GUEST=example_kernel).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <paravane/domain_page.h>
#include <paravane/errors.h>
#include <paravane/hypercall.h>
#include <paravane/slot.h>
#include <paravane/start_info.h>
#include <paravane/vcpu_page.h>
#include <paravane/vdso.h>

/* As the stubs in entry.S push it; the last five are what the trap itself pushed. */
struct frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

extern char kernel_stack_top[], trap_stubs[], upcall_stub[], syscall_stub[], user_start[], user_end[];
long hypercall(uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2);
_Noreturn void return_to_frame(void);
void trap(struct frame *f);
_Noreturn void kernel_main(const struct pvn_start_info *info);

/* These are always at the same address, whichever vCPU runs. */
static volatile struct pvn_vcpu_page *const vcpu = (void *)PVN_SLOT_VCPU_PAGE;
static volatile struct pvn_domain_page *const domain = (void *)PVN_SLOT_DOMAIN_PAGE;
static const volatile uint64_t *const p2m = (void *)PVN_SLOT_P2M;
static const volatile uint64_t *const m2p = (void *)PVN_SLOT_M2P;

static const struct pvn_start_info *start;

/* The compiler calls these. */
void *memset(void *to, int value, size_t bytes)
{
	for (char volatile *p = to; bytes; bytes--)
		*p++ = (char)value;
	return to;
}
void *memcpy(void *to, const void *from, size_t bytes)
{
	const char *f = from;

	for (char volatile *t = to; bytes; bytes--)
		*t++ = *f++;
	return to;
}

/* --- Step 2: say something ---------------------------------------------------------------------------------------- */

static void print(const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	hypercall(PVN_SYSTEM_CONSOLE_WRITE, (uint64_t)text, length, 0);
}

static void print_number(const char *before, uint64_t value, const char *after)
{
	char digits[21];
	char *at = digits + sizeof(digits) - 1;

	*at = 0;
	do
		*--at = (char)('0' + value % 10);
	while (value /= 10);
	print(before);
	print(at);
	print(after);
}

static _Noreturn void end(uint64_t reason)
{
	hypercall(PVN_SCHED_SHUTDOWN, reason, 0, 0);
	for (;;)
		;
}

static void must(const char *what, long result)
{
	if (result >= 0)
		return;
	print(what);
	print_number(": refused, error ", (uint64_t)-result, " (docs/abi/errors.md)\n");
	end(PVN_SHUTDOWN_CRASH);
}

/* --- Step 3: traps -------------------------------------------------------------------------------------------------- */

static void set_up_traps(void)
{
	for (unsigned int n = 0; n < PVN_TRAP_COUNT; n++) {
		vcpu->trap[n].handler = (uint64_t)trap_stubs + n * 16;
		vcpu->trap[n].flags = PVN_TRAP_MASK_EVENTS;
	}
	vcpu->kernel_sp = (uint64_t)kernel_stack_top;	/* for what comes from ring 3 */
	vcpu->event_entry = (uint64_t)upcall_stub;
	vcpu->syscall_entry = (uint64_t)syscall_stub;
}

/* --- Step 4: events --------------------------------------------------------------------------------------------------- */

static uint32_t timer_port, own_port;
static volatile unsigned int timer_events, own_events;

/* In the opposite order to the one in which Paravane sets the three bits: so nothing is missed. */
static void take_events(void)
{
	vcpu->event_pending = 0;
	for (uint64_t words = __atomic_exchange_n(&vcpu->pending_words, 0, __ATOMIC_SEQ_CST); words; words &= words - 1) {
		unsigned int word = (unsigned int)__builtin_ctzll(words);
		uint64_t ports = domain->event_pending[word] & ~domain->event_mask[word];

		for (; ports; ports &= ports - 1) {
			uint32_t port = word * 64 + (uint32_t)__builtin_ctzll(ports);

			__atomic_fetch_and(&domain->event_pending[word], ~(ports & -ports), __ATOMIC_SEQ_CST);
			if (port == timer_port)
				timer_events++;
			else if (port == own_port)
				own_events++;
		}
	}
}

/* Waits with events let in only while it sleeps: between the look and the sleep none can be lost. */
static void wait_for(volatile unsigned int *count)
{
	while (!*count) {
		((void (*)(void))PVN_VDSO_BLOCK)();
		vcpu->event_mask = 1;
	}
}

/* Step 5: `ns` from now.  docs/abi/time.md has the formula; the page changes under the reader only if the vCPU is switched. */
static uint64_t now(void)
{
	uint32_t version, low, high;
	uint64_t ns;

	do {
		version = vcpu->time.version;
		__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
		uint64_t ticks = ((uint64_t)high << 32 | low) - vcpu->time.tsc_timestamp;

		ticks = vcpu->time.tsc_shift >= 0 ? ticks << vcpu->time.tsc_shift : ticks >> -vcpu->time.tsc_shift;
		ns = vcpu->time.system_time + (uint64_t)((unsigned __int128)ticks * vcpu->time.tsc_to_system_mul >> 32);
	} while ((version & 1) || version != vcpu->time.version);
	return ns;
}

static void set_up_events(void)
{
	long port = hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_TIMER, 0, 0);

	must("the timer's port", port);
	timer_port = (uint32_t)port;
	must("unmasking it", hypercall(PVN_EVENT_UNMASK, timer_port, 0, 0));
	port = hypercall(PVN_EVENT_BIND_IPI, 0, 0, 0);
	must("a port to oneself", port);
	own_port = (uint32_t)port;
	must("unmasking it", hypercall(PVN_EVENT_UNMASK, own_port, 0, 0));
}

/* --- Step 5: memory and page tables ----------------------------------------------------------------------------------- */

static uint64_t next_pfn;

static void *address_of(uint64_t pfn) { return (void *)(start->virtual_base + pfn * PVN_PAGE_SIZE); }
static uint64_t pfn_of(const void *address) { return ((uint64_t)address - start->virtual_base) / PVN_PAGE_SIZE; }

/* Free frames are mapped and zero. */
static void *allocate_page(void)
{
	if (next_pfn == start->mapped_end_pfn) {
		print("out of memory\n");
		end(PVN_SHUTDOWN_CRASH);
	}
	return address_of(next_pfn++);
}

#define PRESENT		1ull
#define WRITABLE	2ull
#define USER		4ull
#define NO_EXECUTE	(1ull << 63)
#define FRAME		0x000ffffffffff000ull

/* Entries hold machine frames: what the CPU reads is what we write. */
static uint64_t entry_for(uint64_t pfn, uint64_t flags) { return p2m[pfn] * PVN_PAGE_SIZE | flags; }

/* Where the entry of `address` is in the table of `level`, as a guest-physical address; 0: there is no such table yet. */
static uint64_t find_entry(uint64_t address, unsigned int level)
{
	uint64_t table = start->tables_pfn;

	for (unsigned int at = 4;; at--) {
		uint64_t entry = table * PVN_PAGE_SIZE + (address >> (3 + 9 * at) & 511) * 8;
		uint64_t value = *(volatile uint64_t *)(start->virtual_base + entry);

		if (at == level)
			return entry;
		if (!(value & PRESENT))
			return 0;
		table = m2p[(value & FRAME) / PVN_PAGE_SIZE];
	}
}

static uint64_t read_entry(uint64_t entry) { return *(volatile uint64_t *)(start->virtual_base + entry); }

static void write_entry(uint64_t entry, uint64_t value) { must("a page-table entry", hypercall(PVN_MMU_WRITE, entry, value, 0)); }

/* A page becomes a table: first it must not be writable anywhere, then Paravane checks what it holds. */
static void make_table(void *page, unsigned int level)
{
	uint64_t entry = find_entry((uint64_t)page, 1);
	struct pvn_mmu_op op = { .kind = PVN_MMU_OP_PROMOTE, .target = pfn_of(page), .value = level };

	write_entry(entry, read_entry(entry) & ~WRITABLE);
	must("a page table", hypercall(PVN_MMU_QUEUE, (uint64_t)&op, 1, 0));
}

static void map(uint64_t address, uint64_t pfn, uint64_t flags)
{
	for (unsigned int level = 4; level > 1; level--) {
		uint64_t entry = find_entry(address, level);
		void *table;

		if (read_entry(entry) & PRESENT)
			continue;
		table = allocate_page();
		make_table(table, level - 1);
		write_entry(entry, entry_for(pfn_of(table), PRESENT | WRITABLE | USER));
	}
	write_entry(find_entry(address, 1), entry_for(pfn, PRESENT | flags));
}

/* --- Step 6: a process ------------------------------------------------------------------------------------------------ */

#define USER_CODE	0x400000ull
#define USER_STACK	0x7ffff000ull

static _Noreturn void run_process(void)
{
	static struct frame f;
	uint64_t address = USER_CODE;

	for (const char *page = user_start; page != user_end; page += PVN_PAGE_SIZE, address += PVN_PAGE_SIZE)
		map(address, pfn_of(page), USER);
	map(USER_STACK, pfn_of(allocate_page()), USER | WRITABLE | NO_EXECUTE);
	f = (struct frame){ .rip = USER_CODE, .cs = PVN_USER_CS, .rflags = 0x202, .rsp = USER_STACK + PVN_PAGE_SIZE, .ss = PVN_USER_SS };
	__asm__ volatile("mov %0, %%rsp; jmp return_to_frame" : : "r"(&f) : "memory");
	__builtin_unreachable();
}

static bool is_users(uint64_t address, uint64_t length)
{
	return address >= USER_CODE && length <= PVN_PAGE_SIZE && address + length <= USER_CODE + (uint64_t)(user_end - user_start);
}

static void system_call(struct frame *f)
{
	switch (f->rax) {
	case 0:
		print_number("example: the process ended with ", f->rdi, "\n");
		print_number("example: the timer had fired ", timer_events, " times, the own port ");
		print_number("", own_events, "\n");
		end(PVN_SHUTDOWN_POWER_OFF);
	case 1:
		/* The process's pages are mapped in the kernel's own tables too, so Paravane can read them for us. */
		f->rax = is_users(f->rdi, f->rsi) ? (uint64_t)hypercall(PVN_SYSTEM_CONSOLE_WRITE, f->rdi, f->rsi, 0) : (uint64_t)-1;
		break;
	default:
		f->rax = (uint64_t)-1;
	}
}

/* --- All entries from below come here ----------------------------------------------------------------------------------- */

static volatile unsigned int breakpoints;

void trap(struct frame *f)
{
	switch (f->vector) {
	case 256:
		take_events();
		break;
	case 257:
		system_call(f);
		break;
	case 3:
		breakpoints++;
		break;
	default:
		print_number("example: trap ", f->vector, "");
		print_number(" at ", f->rip, "");
		print_number(", error ", f->error, "");
		print_number(", address ", vcpu->fault_address, "\n");
		end(PVN_SHUTDOWN_CRASH);
	}
}

_Noreturn void kernel_main(const struct pvn_start_info *info)
{
	start = info;
	next_pfn = info->first_free_pfn;
	print_number("example: domain ", info->domain_id, "");
	print_number(" with ", info->frames, " frames\n");

	set_up_traps();
	__asm__ volatile("int3");
	print_number("example: ", breakpoints, " breakpoint\n");

	set_up_events();
	must("an event to oneself", hypercall(PVN_EVENT_SEND, own_port, 0, 0));
	wait_for(&own_events);
	print("example: an event arrived\n");

	uint64_t due = now() + 1000000;

	must("the timer", hypercall(PVN_VCPU_SET_TIMER, due, 0, 0));
	wait_for(&timer_events);
	print(now() >= due ? "example: the timer fired when it was due\n" : "example: the timer fired too early\n");

	run_process();
}
