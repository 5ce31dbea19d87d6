// SPDX-License-Identifier: MIT
// Every hypercall number, every privileged call from a domain that has no privilege, and every pointer argument with every kind of
// bad address: an error of the ABI and no effect, and the hypervisor's console is not written faster than it allows.
#include "hostile.hpp"

char const guest_name[] = "hostile_hypercalls";

namespace {

bool known(std::uint64_t n)
{
    struct { std::uint64_t first, last; } const ranges[] = {{0x100, 0x106}, {0x200, 0x203}, {0x300, 0x309}, {0x400, 0x404}, {0x500, 0x504}, {0x600, 0x60b}, {0x700, 0x700},
                                                           {0x800, 0x804}, {0x900, 0x914}, {0xa00, 0xa0f}, {0xb00, 0xb00}};
    for (auto const& r : ranges)
        if (n >= r.first && n <= r.last) return true;
    return false;
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    for (std::uint64_t n = 0; n < 4096; ++n)
        if (!known(n)) CHECK_EQUAL(hypercall(n, 1, 2, 3, 4, 5, 6), -PVN_E_NOT_IMPLEMENTED);
    for (auto const n : {0x1000ul, 0x10a00ul, 0x7ffffffful, 0x80000000ul, 0xfffffffful, 0x100000a00ul, 0x100000502ul, 1ul << 63, 1ul << 63 | 0x502, ~0ul})
        CHECK_EQUAL(hypercall(n), -PVN_E_NOT_IMPLEMENTED);

    // Privileged calls; those that this version does not have may say so.
    auto const* const mapped = guest::allocate_page();
    auto const good = reinterpret_cast<std::uint64_t>(mapped);
    struct { std::uint64_t first, last; } const privileged[] = {{0x203, 0x203}, {0x304, 0x304}, {0x700, 0x700}, {0x800, 0x804}, {0x900, 0x914}, {0xa02, 0xa02}, {0xa04, 0xa0f}};
    for (auto const& r : privileged)
        for (auto n = r.first; n <= r.last; ++n)
            for (auto const a : {0ul, 1ul, good, ~0ul}) {
                auto const got = hypercall(n, a, good, good, 1);
                if (got != -PVN_E_NOT_IMPLEMENTED || (n != 0x700 && n != 0xa05)) CHECK_EQUAL(got, -PVN_E_DENIED);
                pvn_call call{n, 77, {a, good, good, 1, 0, 0}};
                CHECK_EQUAL(hypercall(PVN_MULTI, reinterpret_cast<std::uint64_t>(&call), 1), 0);
                CHECK_EQUAL(call.result, got);
            }
    for (auto const virq : {PVN_VIRQ_CONSOLE, PVN_VIRQ_DOMAIN}) CHECK_EQUAL(hypercall(PVN_EVENT_BIND_VIRQ, static_cast<std::uint64_t>(virq), 0), -PVN_E_DENIED);

    // Pointers.  The last page of a mapping is followed by nothing.
    constexpr std::uint64_t base = 0x40000000;
    CHECK_EQUAL(guest::map_user(base, guest::pfn_of(guest::allocate_page()), 7), 0);
    auto* const constant = guest::allocate_page();
    CHECK_EQUAL(guest::protect(constant, false), 0);
    auto* const table = guest::allocate_page();
    CHECK_EQUAL(guest::protect(table, false), 0);
    CHECK_EQUAL(guest::promote(guest::pfn_of(table), 1), 0);
    auto const read_only = reinterpret_cast<std::uint64_t>(constant);
    std::uint64_t const unreadable[] = {0, 8, 0x0000800000000000, 0xffff7ffffffffff8, PVN_SLOT_BASE, PVN_SLOT_VDSO, PVN_SLOT_CPU_TABLES, PVN_SLOT_ENTRY_STACKS + 0x1000,
                                        PVN_SLOT_VCPU_PAGE, PVN_SLOT_DOMAIN_PAGE, PVN_SLOT_P2M, PVN_SLOT_M2P, PVN_SLOT_END - 8, PVN_SLOT_END, 0xffff810000000000,
                                        0xffffffff80100000, ~7ul, base + 0x1000, base + 0x1000 - 8};
    for (auto const p : unreadable) {
        bool const crosses = p == base + 0x1000 - 8;
        CHECK_EQUAL(hypercall(PVN_MMU_QUEUE, p, 2), -PVN_E_BAD_ADDRESS);
        if (!crosses) CHECK_EQUAL(hypercall(PVN_MEMORY_POPULATE, p, 1), -PVN_E_BAD_ADDRESS);
        if (!crosses) CHECK_EQUAL(hypercall(PVN_MEMORY_GIVE_BACK, p, 1), -PVN_E_BAD_ADDRESS);
        CHECK_EQUAL(hypercall(PVN_MEMORY_QUERY, p), -PVN_E_BAD_ADDRESS);
        CHECK_EQUAL(hypercall(PVN_EVENT_STATUS, p), -PVN_E_BAD_ADDRESS);
        if (!crosses) CHECK_EQUAL(hypercall(PVN_SCHED_POLL, p, 1, 1), -PVN_E_BAD_ADDRESS);
        CHECK_EQUAL(hypercall(PVN_SYSTEM_CONSOLE_WRITE, p, 9), -PVN_E_BAD_ADDRESS);
        CHECK_EQUAL(hypercall(PVN_SYSTEM_INFO, p), -PVN_E_BAD_ADDRESS);
        CHECK_EQUAL(hypercall(PVN_MULTI, p, 1), -PVN_E_BAD_ADDRESS);
    }
    for (auto const p : {read_only, reinterpret_cast<std::uint64_t>(table), reinterpret_cast<std::uint64_t>(guest::address_of(guest::start().tables_pfn))}) {
        CHECK_EQUAL(hypercall(PVN_MEMORY_QUERY, p), -PVN_E_BAD_ADDRESS);
        CHECK_EQUAL(hypercall(PVN_SYSTEM_INFO, p), -PVN_E_BAD_ADDRESS);
        auto const first = *reinterpret_cast<std::uint64_t*>(p);
        CHECK(hypercall(PVN_EVENT_STATUS, p) < 0);
        CHECK_EQUAL(*reinterpret_cast<std::uint64_t*>(p), first);
    }
    for (auto const* const page : {constant, table})
        for (unsigned i = 0; i < 512; ++i) CHECK_EQUAL(static_cast<std::uint64_t const*>(page)[i], 0u);
    // Not aligned, and too many.
    for (std::uint64_t off = 1; off < 8; ++off) {
        for (auto const n : {PVN_MMU_QUEUE, PVN_MEMORY_POPULATE, PVN_MEMORY_GIVE_BACK, PVN_MULTI})
            CHECK_EQUAL(hypercall(static_cast<std::uint64_t>(n), good + off, 1), -PVN_E_INVALID);
    }
    CHECK_EQUAL(hypercall(PVN_MULTI, good, 65), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_MULTI, good, ~0ul), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, good, 65, 1), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_CONSOLE_WRITE, good, 4097), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_SCHED_SHUTDOWN, 4), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_SCHED_SHUTDOWN, 1ul << 32), -PVN_E_INVALID);
    pvn_call calls[2] = {{PVN_MULTI, 0, {good, 1}}, {PVN_SCHED_SHUTDOWN, 0, {3}}};
    CHECK_EQUAL(hypercall(PVN_MULTI, reinterpret_cast<std::uint64_t>(calls), 2), 0);
    CHECK_EQUAL(calls[0].result, -PVN_E_INVALID);
    CHECK_EQUAL(calls[1].result, -PVN_E_INVALID);

    // Descriptors that would be gates, code, system segments, or another ring's.
    for (auto const d : {0x00af9b000000fffful, 0x00affb000000fffful, 0x00cf93000000fffful, 0x00cfb3000000fffful, 0x0000e9000000fffful, 0x0000ee0000000000ul,
                         0x0000ec0000000000ul, 0x00cffb000000fffful})
        CHECK_EQUAL(hypercall(PVN_VCPU_SET_DESCRIPTOR, PVN_GDT_FIRST_OWN, d), -PVN_E_INVALID);
    for (auto const i : {0ul, 2ul, 11ul, 16ul, 18ul, 19ul, ~0ul}) CHECK_EQUAL(hypercall(PVN_VCPU_SET_DESCRIPTOR, i, 0), -PVN_E_INVALID);
    for (auto const s : {0x80ul, 0x88ul, 0x90ul, 0x10ul, 0x18ul, 0x33ul, 0x67ul, 0x10000ul}) CHECK(hypercall(PVN_VCPU_SET_USER_GS, s) < 0);

    // Console credit is spent by what was shown, also if the rest of the text cannot be read: this must stop before 64 KiB are out.
    auto* const text = reinterpret_cast<char*>(base);
    memset(text, '\r', 4096);  // is not shown
    unsigned shown = 0;
    while (hypercall(PVN_SYSTEM_CONSOLE_WRITE, base + 4096 - 256, 4096) < 0 && shown < 2000) ++shown;
    CHECK(shown > 0 && shown < 2000);
    // Wait until there is credit for the verdict.
    for (auto const end = guest::now() + 300000000; guest::now() < end;) asm volatile("pause");
}
