// SPDX-License-Identifier: MIT
// How long hypercalls keep interrupts off: the time from each entry into the hypervisor to the return to the guest, out of the trace.  For one CPU.
#pragma once

#include <span>

#include "domains.hpp"

namespace guest {

inline constexpr std::uint64_t longest = 100'000;  // ns
inline pvn_trace_record records[PVN_TRACE_RECORDS];

inline void must(long result) { CHECK_EQUAL(result, 0); }

inline void print_number(std::uint64_t n)
{
    char digits[20];
    std::size_t at = sizeof digits;
    do digits[--at] = static_cast<char>('0' + n % 10);
    while ((n /= 10) != 0);
    print({digits + at, sizeof digits - at});
}

// Calls look(record) for what a CPU did since the trace began.
template <class Look>
void for_each_record(std::uint64_t cpu, Look look)
{
    for (;;) {
        auto const count = hypercall(PVN_SYSTEM_TRACE_READ, cpu, in_memory(records), PVN_TRACE_RECORDS);
        CHECK(count >= 0);
        if (count == 0) return;
        for (auto const& r : std::span{records}.first(static_cast<std::size_t>(count))) look(r);
    }
}

// The longest stay of CPU 0 in the hypervisor.
inline std::uint64_t longest_stay()
{
    std::uint64_t most = 0, since = 0;
    for_each_record(0, [&](pvn_trace_record const& r) {
        if (r.event != PVN_TRACE_ENTER && since != 0 && r.time - since > most) most = r.time - since;
        since = r.event == PVN_TRACE_LEAVE ? 0 : r.time;
    });
    return most;
}

inline bool all_bounds_hold = true;

// `number` is the call that is made, `what` what is special about it.
template <class Operation>
void bounded(std::uint64_t number, char const* what, Operation operation)
{
    must(hypercall(PVN_SYSTEM_TRACE, 1 << PVN_TRACE_ENTER | 1 << PVN_TRACE_LEAVE | 1 << PVN_TRACE_WINDOW));
    operation();
    must(hypercall(PVN_SYSTEM_TRACE, 0));
    auto const most = longest_stay();
    print("latency ");
    for (int shift = 8; shift >= 0; shift -= 4) print({&"0123456789abcdef"[number >> shift & 15], 1});
    print(" ");
    print_number(most);
    print(" ");
    print(what);
    print(most > longest ? " TOO LONG\n" : "\n");
    all_bounds_hold = all_bounds_hold && most <= longest;
}

// One call, which succeeds.
inline void bounded_call(std::uint64_t number, char const* what, std::uint64_t a0 = 0, std::uint64_t a1 = 0, std::uint64_t a2 = 0, std::uint64_t a3 = 0, std::uint64_t a4 = 0)
{
    bounded(number, what, [=] { CHECK(hypercall(number, a0, a1, a2, a3, a4) >= 0); });
}

// Before the first: the trace has its memory, and this vCPU stays where the trace is looked at.
inline void prepare_bounds()
{
    must(hypercall(PVN_DOMAIN_SET_AFFINITY, 0, 0, 1, 1));
    must(hypercall(PVN_SYSTEM_TRACE, 1));
    must(hypercall(PVN_SYSTEM_TRACE, 0));
    (void)longest_stay();
}

// Domains with as many vCPUs as they can have: 16,000 of these, if there are as many domains as there can be.
inline void make_a_crowd(std::uint64_t domains)
{
    for (std::uint64_t i = 0; i < domains; ++i) CHECK(create_domain(1, 1, 64) > 0);
}

}  // namespace guest
