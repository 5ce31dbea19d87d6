// SPDX-License-Identifier: MIT
// A hypercall that takes long lets interrupts in on the way, and its caller does not notice: every operation is done once and in
// order, all registers but RAX, RCX and R11 are kept, an error in the middle stops it there.  Otherwise one guest could keep a CPU,
// and all its interrupts, for as long as its longest batch.
#include "hostile.hpp"

char const guest_name[] = "preemption";

namespace {

constexpr std::uint64_t calls = 64, operations = PVN_MMU_QUEUE_MAX;
std::uint64_t timer, again;
int upcalls, upcalls_in_a_call;
pvn_mmu_op nested{PVN_MMU_OP_FLUSH, 0, 0, 0, 0, 0};

void on_event(guest::Registers& r)
{
    CHECK_EQUAL(r.vector, guest::event_vector);
    guest::vcpu().event_pending = 0;
    guest::vcpu().pending_words = 0;
    guest::domain().event_pending[timer / 64] = 0;
    ++upcalls;
    // At the `int` where an interrupted call goes on; at the `ret` behind it the call is over.
    if (r.rip > PVN_VDSO_HYPERCALL && r.rip < PVN_VDSO_RETURN_FROM_TRAP && *reinterpret_cast<std::uint8_t const*>(r.rip) == 0xcd) {
        ++upcalls_in_a_call;
        again = r.rip;
        // Another call, of the same kind, while one is half done.
        CHECK_EQUAL(hypercall(PVN_MMU_QUEUE, reinterpret_cast<std::uint64_t>(&nested), 1), 0);
    }
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, guest::now() + 300000), 0);
}

struct Result {
    std::uint64_t rax, kept;
};
// Calls `entry` with all argument registers distinct, and R11 as given; how many of them were kept.
Result call(std::uint64_t entry, std::uint64_t number, std::uint64_t a0, std::uint64_t a1, std::uint64_t a2, std::uint64_t r11_value)
{
    register std::uint64_t r10 asm("r10") = 0x10101010;
    register std::uint64_t r8 asm("r8") = 0x80808080;
    register std::uint64_t r9 asm("r9") = 0x90909090;
    register std::uint64_t r11 asm("r11") = r11_value;
    std::uint64_t rax = number, rdi = a0, rsi = a1, rdx = a2;
    asm volatile("call *%[entry]" : "+a"(rax), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r10), "+r"(r8), "+r"(r9), "+r"(r11)
                 : [entry] "r"(entry) : "rcx", "memory", "cc");
    return {rax, (rdi == a0) + (rsi == a1) + (rdx == a2) + (r10 == 0x10101010) + (r8 == 0x80808080) + (r9 == 0x90909090) + 0u};
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::set_handler(on_event);
    timer = static_cast<std::uint64_t>(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_TIMER, 0));
    CHECK_EQUAL(hypercall(PVN_EVENT_UNMASK, timer), 0);

    // A batch of 64 full queues that write the entries of one table over and over.
    auto* const table = static_cast<std::uint64_t*>(guest::allocate_page());
    auto* const target = guest::allocate_page();
    auto const mfn = guest::p2m()[guest::pfn_of(target)];
    CHECK_EQUAL(guest::protect(table, false), 0);
    CHECK_EQUAL(guest::promote(guest::pfn_of(table), 1), 0);
    constexpr std::uint64_t queue_pages = operations * sizeof(pvn_mmu_op) / 4096;
    auto* const queue = static_cast<pvn_mmu_op*>(guest::allocate_page());
    for (std::uint64_t i = 1; i < queue_pages; ++i) (void)guest::allocate_page();
    for (std::uint64_t i = 0; i < operations; ++i)
        queue[i] = {PVN_MMU_OP_WRITE, 0, guest::pfn_of(table) * 4096 + i % 512 * 8, mfn * 4096 | (i / 512 % 2 == 0 ? 1u : 0u), 0, 0};
    // The last round says who wrote it.
    for (std::uint64_t i = operations - 512; i < operations; ++i) queue[i].value = mfn * 4096 | 1 | (i % 512) << 52;
    static pvn_call batch[calls];
    for (auto& c : batch) c = {PVN_MMU_QUEUE, -1000, {reinterpret_cast<std::uint64_t>(queue), operations, 0, 0, 0, 0}};

    guest::vcpu().event_mask = 0;
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, guest::now() + 300000), 0);
    auto const before = guest::now();
    auto result = call(PVN_VDSO_HYPERCALL, PVN_MULTI, reinterpret_cast<std::uint64_t>(batch), calls, 0x22222222, 0);
    auto const took = guest::now() - before;
    CHECK_EQUAL(result.rax, 0u);
    CHECK_EQUAL(result.kept, 6u);
    for (auto const& c : batch) CHECK_EQUAL(c.result, 0);
    for (std::uint64_t i = 0; i < 512; ++i) CHECK_EQUAL(table[i], mfn * 4096 | 1 | i << 52);
    CHECK(upcalls_in_a_call >= 5);
    // No more than that apart, the emulator's own pauses allowed for.
    CHECK(static_cast<std::uint64_t>(upcalls_in_a_call) * 50000000 > took);

    // An error in the middle of a queue: it is told, and what comes after is not done.
    for (std::uint64_t i = 0; i < operations; ++i) queue[i].value = mfn * 4096 | 1;
    constexpr std::uint64_t bad = 3000;
    queue[bad].flags = 64;
    for (std::uint64_t i = operations - 512; i < operations; ++i) queue[i].value = 0;
    for (int i = 0; i < 8; ++i) {
        queue[bad].result = 0;
        result = call(PVN_VDSO_HYPERCALL, PVN_MMU_QUEUE, reinterpret_cast<std::uint64_t>(queue), operations, 0x22222222, 0);
        CHECK_EQUAL(static_cast<long>(result.rax), -PVN_E_INVALID);
        CHECK_EQUAL(result.kept, 6u);
        CHECK_EQUAL(queue[bad].result, -PVN_E_INVALID);
        for (std::uint64_t k = 0; k < 512; ++k) CHECK_EQUAL(table[k], mfn * 4096 | 1);
    }

    // Give back and populate: the number done, whatever came in between.
    std::uint64_t pfns[256];
    for (auto& pfn : pfns) {
        auto* const page = guest::allocate_page();
        pfn = guest::pfn_of(page);
        CHECK_EQUAL(guest::write_entry(guest::entry_of(reinterpret_cast<std::uint64_t>(page)), 0), 0);
    }
    for (int i = 0; i < 8; ++i) {
        CHECK_EQUAL(hypercall(PVN_MEMORY_GIVE_BACK, reinterpret_cast<std::uint64_t>(pfns), 256), 256);
        for (auto const pfn : pfns) CHECK_EQUAL(guest::p2m()[pfn], PVN_NO_FRAME);
        CHECK_EQUAL(hypercall(PVN_MEMORY_POPULATE, reinterpret_cast<std::uint64_t>(pfns), 256), 256);
    }

    // The place where a call goes on is an entry like any other: a guest that goes there by itself starts in the middle, or gets the
    // answer that it made up, and harms nobody.
    CHECK(again != 0);
    guest::vcpu().event_mask = 1;
    for (std::uint64_t const progress : {std::uint64_t{1}, std::uint64_t{4095}, std::uint64_t{4096}, std::uint64_t{63} << 32 | 4096, std::uint64_t{1} << 32,
                                         std::uint64_t{0xffffffff}, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
        for (std::uint64_t number = 0x100; number < 0xc00; ++number) {
            if (number == PVN_SCHED_SHUTDOWN || number == PVN_SCHED_BLOCK || number == PVN_SCHED_POLL || number == PVN_SCHED_WAIT || number == PVN_VCPU_DOWN) continue;
            (void)call(again, number, reinterpret_cast<std::uint64_t>(table), 1ull << 63, 0, progress);
        }
        CHECK_EQUAL(call(again, PVN_SYSTEM_VERSION, 0, 0, 0, progress).rax, std::uint64_t{PVN_ABI_VERSION});
        auto const made_up = call(again, PVN_MEMORY_POPULATE, reinterpret_cast<std::uint64_t>(pfns), 16, 0, progress).rax;
        CHECK(made_up <= 16 || static_cast<long>(made_up) == -PVN_E_EXISTS);
    }
}
