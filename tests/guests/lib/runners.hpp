// SPDX-License-Identifier: MIT
// A crowd that wants to run: domains that dom0 makes by hand, of 64 vCPUs each, that spin, or give way at once whenever they run, or sleep and wake
// all at the same moments.  How long calls keep interrupts off beside them.
#pragma once

#include <span>

#include "by_hand.hpp"
#include "latency.hpp"

// vCPU 0 starts all others by one call, whose list R12 points to, and goes to R13.  RBP: number of the call.
extern "C" char starts_all[], spins[], gives_way[], sleeps[], ends[], code_end[];
asm(R"(
.section .rodata
.global starts_all, spins, gives_way, sleeps, ends, code_end
starts_all:
    mov %rbp, %rax
    mov %r12, %rdi
    mov $63, %esi
    call *%rbx
    mov %r8, %rbp
    jmp *%r13
spins:
    jmp spins
gives_way:
    mov %rbp, %rax
    call *%rbx
    jmp gives_way
sleeps:             # until R14, and again and again R15 later
    mov %rbp, %rax
    xor %edi, %edi
    xor %esi, %esi
    mov %r14, %rdx
    call *%rbx
    add %r15, %r14
    jmp sleeps
ends:               # the whole domain, at R14
    mov %rbp, %rax
    xor %edi, %edi
    xor %esi, %esi
    mov %r14, %rdx
    call *%rbx
    mov %r15, %rax
    xor %edi, %edi
    call *%rbx
code_end:
.text
)");

namespace guest::runners {

struct Way {
    char const* name;
    char const* begin;
    std::uint64_t call;
    std::uint64_t warp = 0, warp_limit = 0, unwarp = 0;
    std::uint64_t hard = ~std::uint64_t{0};
};

enum Page : std::uint64_t { list = by_hand::first_own, pages };
constexpr std::uint64_t period = 50'000'000;  // ns, of those that sleep
constexpr std::uint32_t most = 65535;         // weight

inline std::uint64_t now()
{
    pvn_system_info info{};
    must(hypercall(PVN_SYSTEM_INFO, in_memory(&info)));
    return info.uptime;
}

inline pvn_cpu_info cpu_info()
{
    pvn_cpu_info info{};
    CHECK_EQUAL(hypercall(PVN_SYSTEM_CPU_INFO, 0, in_memory(&info), 1), 1);
    return info;
}

inline void wait_until(std::uint64_t time) { must(hypercall(PVN_SCHED_POLL, 0, 0, time)); }

inline void set_schedule(std::uint64_t id, std::uint32_t weight, std::uint64_t warp, std::uint64_t limit = 0, std::uint64_t unwarp = 0)
{
    pvn_sched_parameters parameters{};
    parameters.weight = weight;
    parameters.flags = warp != 0 ? PVN_SCHED_WARP : 0;
    parameters.warp = warp, parameters.warp_limit = limit, parameters.unwarp = unwarp;
    must(hypercall(PVN_DOMAIN_SET_SCHED, id, in_memory(&parameters)));
}

// A paused domain of 64 vCPUs that have begun.  vCPU 0 spins, and the others do at `start` what they are to do; or vCPU 0 does that, and the others sleep.
inline std::uint64_t make(Way const& way, std::uint64_t start, bool first_alone = false)
{
    // One stack for all but vCPU 0: what a call leaves there is the same for each.
    auto const id = by_hand::make(pages, pages, 64, {starts_all, code_end}, [](std::uint64_t, by_hand::Mfns) {
        for (std::uint64_t vcpu = 1; vcpu < 64; ++vcpu) by_hand::in_window<pvn_call>(list)[vcpu - 1] = {PVN_VCPU_UP, 0, {vcpu, 0, 0, 0, 0, 0}};
    });
    auto const place = [](char const* code) { return static_cast<std::uint64_t>(code - starts_all); };
    auto context = by_hand::context(place(first_alone ? sleeps : way.begin));
    context.rbp = first_alone ? PVN_SCHED_POLL : way.call, context.r14 = start, context.r15 = period;
    for (std::uint64_t vcpu = 1; vcpu < 64; ++vcpu) must(hypercall(PVN_DOMAIN_SET_CONTEXT, id, vcpu, in_memory(&context)));
    context = by_hand::context(0);
    context.rsp -= 2048;
    context.rbp = PVN_MULTI, context.r12 = by_hand::at(list);
    context.r13 = by_hand::at(by_hand::code) + place(first_alone || way.call != 0 ? way.begin : spins), context.r8 = way.call;
    context.r14 = start, context.r15 = first_alone ? PVN_SCHED_SHUTDOWN : period;
    must(hypercall(PVN_DOMAIN_SET_CONTEXT, id, 0, in_memory(&context)));
    // Here before they run: another processor that sends some of them here would have to wait, as its clock goes only while this one's stands.
    static std::uint64_t homes = 1;
    homes += 64;
    for (std::uint64_t vcpu = 0; vcpu < 64; ++vcpu) must(hypercall(PVN_DOMAIN_SET_AFFINITY, id, vcpu, way.hard, ~std::uint64_t{0}));
    while (cpu_info().homes != homes) wait_until(now() + 100'000);
    set_schedule(id, 1, way.warp, way.warp_limit, way.unwarp);
    must(hypercall(PVN_DOMAIN_UNPAUSE, id));
    pvn_vcpu_info info{};
    do {
        wait_until(now() + 100'000);
        must(hypercall(PVN_DOMAIN_VCPU_INFO, id, 63, in_memory(&info)));
    } while (info.state == PVN_RUNSTATE_OFFLINE);
    must(hypercall(PVN_DOMAIN_PAUSE, id));
    return id;
}

// As many domains as there can be, which go these ways, an equal part of them each.
inline void measure_beside(std::span<Way const> ways)
{
    install_traps();
    prepare_bounds();
    by_hand::prepare();
    // More of the processor than for all others together, and before any of them.
    set_schedule(0, most, 10'000'000'000);

    constexpr std::uint64_t domains = 253;
    static std::uint64_t ids[domains];
    auto const way_of = [&](std::uint64_t i) -> Way const& { return ways[i * ways.size() / domains]; };
    auto const start = now();
    for (std::uint64_t i = 0; i < domains; ++i) ids[i] = make(way_of(i), start);
    auto const ends_itself = make({"", ends, PVN_SCHED_POLL, 0, 0, 0, ways[0].hard}, now() + period, true);
    set_schedule(ends_itself, most, 10'000'000'000);
    for (std::uint64_t i = 0; i < domains; ++i) {
        must(hypercall(PVN_DOMAIN_UNPAUSE, ids[i]));
        auto const& way = way_of(i);
        if (i + 1 != domains && &way == &way_of(i + 1)) continue;
        // All that go this way run, and those before.
        wait_until(now() + 2 * period);
        // Until shortly after those that sleep have woken: the trace keeps the end.
        for (int times = 0; times < 4; ++times) bounded(PVN_SCHED_POLL, way.name, [&] { wait_until(start + ((now() - start) / period + 1) * period + 1'000'000); });
        bounded_call(PVN_SCHED_YIELD, way.name);
        bounded_call(PVN_DOMAIN_SET_AFFINITY, way.name, ids[i], 7, way.hard, way.hard);
        bounded_call(PVN_DOMAIN_PAUSE, way.name, ids[i]);
        bounded_call(PVN_DOMAIN_UNPAUSE, way.name, ids[i]);
        bounded(PVN_DOMAIN_SET_SCHED, way.name, [&] { set_schedule(ids[i], 2, way.warp, way.warp_limit, way.unwarp); });
    }
    CHECK_EQUAL(cpu_info().homes, 1 + (domains + 1) * 64);
    CHECK(cpu_info().runnable > 1 + domains * 64 * 2 / 3);
    CHECK((domain_info(ends_itself).flags & PVN_DOMAIN_SHUT_DOWN) == 0);
    bounded(PVN_SCHED_SHUTDOWN, "", [&] {
        must(hypercall(PVN_DOMAIN_UNPAUSE, ends_itself));
        do wait_until(now() + 100'000);
        while ((domain_info(ends_itself).flags & PVN_DOMAIN_SHUT_DOWN) == 0);
    });
    for (auto const id : {ids[0], ids[domains / 2], ids[domains - 1], ends_itself}) bounded(PVN_DOMAIN_DESTROY, "", [&] { must(destroy_domain(id)); });
    CHECK(all_bounds_hold);
}

}  // namespace guest::runners
