// SPDX-License-Identifier: MIT
// The audit sees the machine in one moment: while some vCPUs change page tables without end and two ask for audits, each audit finds
// everything as it should be, and everybody gets on afterwards.
#include "smp.hpp"

char const guest_name[] = "audit";

namespace {

constexpr int audits = 20;
std::uint64_t changes[64];
std::uint64_t others_audits;

// Each in a part of the address space of its own.
[[noreturn]] void change(std::uint64_t number)
{
    auto* const page = static_cast<std::uint64_t*>(guest::allocate_page());
    auto const pfn = guest::pfn_of(page);
    auto const address = 0x10000000 + number * 0x200000;
    CHECK_EQUAL(guest::map_user(address, pfn, 3), 0);
    CHECK_EQUAL(guest::protect(page, false), 0);
    auto const entry = guest::entry_of(address);
    auto const mapped = guest::p2m()[pfn] * 4096;
    for (;; guest::store(changes[number], changes[number] + 1)) {
        CHECK_EQUAL(guest::write_entry(entry, mapped | 1), 0);
        CHECK_EQUAL(guest::promote(pfn, 1), 0);
        CHECK_EQUAL(guest::demote(pfn), 0);
        CHECK_EQUAL(guest::write_entry(entry, 0), 0);
        CHECK_EQUAL(guest::write_entry(entry, mapped | 3), 0);
    }
}

// At about the same time as the first vCPU, but for a moment between: who did nothing else would leave nobody else time.
[[noreturn]] void audit_too(std::uint64_t)
{
    for (;;) {
        auto const moment = guest::load(changes[2]) + 2;
        guest::wait_until([&] { return guest::load(changes[2]) >= moment; });
        CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);
        guest::store(others_audits, others_audits + 1);
    }
}

// One after the other: they share the allocator and the tables above.
std::uint64_t ready;
[[noreturn]] void begin(std::uint64_t number)
{
    guest::wait_until([&] { return guest::load(ready) == number; });
    if (number == 1) audit_too(number);
    change(number);
}

}  // namespace

void guest_main()
{
    auto const count = guest::start().vcpus;
    CHECK(count >= 4);
    for (std::uint64_t n = 1; n < count; ++n) guest::start_secondary(n, begin);
    for (std::uint64_t n = count - 1; n >= 1; --n) {
        guest::store(ready, n);
        guest::wait_until([&] { return n == 1 ? guest::load(others_audits) != 0 : guest::load(changes[n]) != 0; });
    }
    for (int i = 0; i < audits; ++i) {
        CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);
        auto const seen = guest::load(others_audits);
        guest::wait_until([&] { return guest::load(others_audits) != seen; });
        for (std::uint64_t n = 2; n < count; ++n) {
            auto const before = guest::load(changes[n]);
            guest::wait_until([&] { return guest::load(changes[n]) != before; });
        }
    }
    for (std::uint64_t n = 1; n < count; ++n) CHECK_EQUAL(hypercall(PVN_VCPU_DOWN, n), 0);
}
