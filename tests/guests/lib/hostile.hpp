// SPDX-License-Identifier: MIT
// What hostile test guests share.  Several domains of one boot can run the same guest, each with a `case=N` of its own.
#pragma once

#include "guest.hpp"

extern "C" void* memcpy(void*, void const*, std::size_t);
extern "C" void* memset(void*, int, std::size_t);

namespace guest {

// The number after `name=` on the command line; 0 if there is none.
inline std::uint64_t option(std::string_view name)
{
    char const* const line = start().command_line;
    for (std::size_t at = 0; line[at] != 0; ++at) {
        if (at != 0 && line[at - 1] != ' ') continue;
        std::size_t i = 0;
        while (i < name.size() && line[at + i] == name[i]) ++i;
        if (i < name.size() || line[at + i] != '=') continue;
        std::uint64_t value = 0;
        for (at += i + 1; line[at] >= '0' && line[at] <= '9'; ++at) value = value * 10 + static_cast<std::uint64_t>(line[at] - '0');
        return value;
    }
    return 0;
}

// One call for a line, so that other domains do not come in between.
inline void say(std::string_view what)
{
    char line[128];
    std::size_t n = 0;
    auto const add = [&](char c) { if (n < sizeof line) line[n++] = c; };
    for (char const c : std::string_view{"case "}) add(c);
    if (option("case") >= 10) add(static_cast<char>('0' + option("case") / 10));
    add(static_cast<char>('0' + option("case") % 10));
    add(':');
    add(' ');
    for (char const c : what) add(c);
    add('\n');
    print({line, n});
}

[[noreturn]] inline void finish(std::uint32_t reason = PVN_SHUTDOWN_POWER_OFF)
{
    for (;;) (void)hypercall(PVN_SCHED_SHUTDOWN, reason);
}

// A page of code for ring 3, copied to `user_code_address`, with a page of stack below `hostile_stack_top`.
inline constexpr std::uint64_t user_code_address = 0x10000000, hostile_stack_top = 0x20001000;

inline void prepare_user(void const* from, void const* to)
{
    auto* const code = allocate_page();
    memcpy(code, from, static_cast<std::size_t>(static_cast<char const*>(to) - static_cast<char const*>(from)));
    CHECK_EQUAL(map_user(user_code_address, pfn_of(code), 5), 0);
    CHECK_EQUAL(map_user(hostile_stack_top - 4096, pfn_of(allocate_page()), 7), 0);
}

inline std::uint64_t now()
{
    pvn_system_info info{};
    (void)hypercall(PVN_SYSTEM_INFO, reinterpret_cast<std::uint64_t>(&info));
    return info.uptime;
}

// The timer's event, unmasked in the domain page, in `ns`.
inline void arm_timer(std::uint64_t ns)
{
    static long port = 0;
    if (port == 0) port = hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_TIMER, 0);
    CHECK(port > 0);
    CHECK_EQUAL(hypercall(PVN_EVENT_UNMASK, static_cast<std::uint64_t>(port)), 0);
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, now() + ns), 0);
}

// Until another domain has run here, or there is none any more.
inline void let_others_run()
{
    auto const& run = vcpu().runstate;
    auto const before = __atomic_load_n(&run.time[PVN_RUNSTATE_RUNNABLE], __ATOMIC_RELAXED);
    for (auto const end = now() + 500000000; now() < end && __atomic_load_n(&run.time[PVN_RUNSTATE_RUNNABLE], __ATOMIC_RELAXED) == before;)
        CHECK_EQUAL(hypercall(PVN_SCHED_YIELD), 0);
}

// A small generator with a fixed seed: a failure comes again.
struct Random {
    std::uint64_t state;
    std::uint64_t next()
    {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
    }
    std::uint64_t below(std::uint64_t limit) { return next() % limit; }
};

}  // namespace guest
