// SPDX-License-Identifier: MIT
// However many vCPUs want to run on a processor, interrupts are not kept off for long: all 16,000 that there can be spin, or give way at once
// whenever they run, or sleep and wake all at the same moments.  The time from every entry into the hypervisor to the return to whichever guest
// is looked up in the trace (`latency`), while dom0 waits beside them, and in what it does to their domains.
#include "by_hand.hpp"
#include "latency.hpp"

char const guest_name[] = "latency_runnable";

// vCPU 0 starts all others by one call, whose list R12 points to, and spins.  RBP: number of the call.
extern "C" char starts_all[], spins[], gives_way[], sleeps[], code_end[];
asm(R"(
.section .rodata
.global starts_all, spins, gives_way, sleeps, code_end
starts_all:
    mov %rbp, %rax
    mov %r12, %rdi
    mov $63, %esi
    call *%rbx
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
code_end:
.text
)");

namespace {

using guest::bounded;
using guest::bounded_call;
using guest::in_memory;
using guest::must;

enum Page : std::uint64_t { list = guest::by_hand::first_own, pages };

struct Way {
    char const* name;
    char const* begin;
    std::uint64_t call;
};
constexpr Way ways[] = {{"beside those that give way", gives_way, PVN_SCHED_YIELD}, {"beside those that sleep", sleeps, PVN_SCHED_POLL}, {"beside those that spin", spins, 0}};
constexpr std::uint64_t period = 50'000'000;  // ns, of those that sleep

std::uint64_t now()
{
    pvn_system_info info{};
    must(hypercall(PVN_SYSTEM_INFO, in_memory(&info)));
    return info.uptime;
}

void wait_until(std::uint64_t time) { must(hypercall(PVN_SCHED_POLL, 0, 0, time)); }

void set_schedule(std::uint64_t id, std::uint32_t weight, std::uint64_t warp)
{
    pvn_sched_parameters parameters{};
    parameters.weight = weight;
    parameters.flags = warp != 0 ? PVN_SCHED_WARP : 0;
    parameters.warp = warp;
    must(hypercall(PVN_DOMAIN_SET_SCHED, id, in_memory(&parameters)));
}

// A paused domain of 64 vCPUs that have begun.
std::uint64_t make(Way const& way, std::uint64_t start)
{
    // One stack for all: what a call leaves there is the same for each.
    auto const id = guest::by_hand::make(pages, pages, 64, {starts_all, code_end}, [](std::uint64_t, guest::by_hand::Mfns) {
        for (std::uint64_t vcpu = 1; vcpu < 64; ++vcpu) guest::by_hand::in_window<pvn_call>(list)[vcpu - 1] = {PVN_VCPU_UP, 0, {vcpu, 0, 0, 0, 0, 0}};
    });
    auto context = guest::by_hand::context(static_cast<std::uint64_t>(way.begin - starts_all));
    context.rbp = way.call, context.r14 = start, context.r15 = period;
    for (std::uint64_t vcpu = 1; vcpu < 64; ++vcpu) must(hypercall(PVN_DOMAIN_SET_CONTEXT, id, vcpu, in_memory(&context)));
    context = guest::by_hand::context(0);
    context.rbp = PVN_MULTI, context.r12 = guest::by_hand::at(list);
    must(hypercall(PVN_DOMAIN_SET_CONTEXT, id, 0, in_memory(&context)));
    set_schedule(id, 1, 0);
    must(hypercall(PVN_DOMAIN_UNPAUSE, id));
    pvn_vcpu_info info{};
    do {
        wait_until(now() + 100'000);
        must(hypercall(PVN_DOMAIN_VCPU_INFO, id, 63, in_memory(&info)));
    } while (info.state == PVN_RUNSTATE_OFFLINE);
    must(hypercall(PVN_DOMAIN_PAUSE, id));
    return id;
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::prepare_bounds();
    guest::by_hand::prepare();
    // More of the processor than for all others together, and before any of them.
    set_schedule(0, 65535, 10'000'000'000);

    constexpr std::uint64_t domains = 254;
    static std::uint64_t ids[domains];
    auto const start = now();
    for (std::uint64_t i = 0; i < domains; ++i) ids[i] = make(ways[i * std::size(ways) / domains], start);
    for (std::uint64_t i = 0; i < domains; ++i) {
        must(hypercall(PVN_DOMAIN_UNPAUSE, ids[i]));
        auto const& way = ways[i * std::size(ways) / domains];
        if (i + 1 != domains && &way == &ways[(i + 1) * std::size(ways) / domains]) continue;
        // All that go this way run, and those before.
        wait_until(now() + 2 * period);
        // Until shortly after those that sleep have woken: the trace keeps the end.
        for (int times = 0; times < 4; ++times) bounded(PVN_SCHED_POLL, way.name, [&] { wait_until(start + ((now() - start) / period + 1) * period + 1'000'000); });
        bounded_call(PVN_SCHED_YIELD, way.name);
        bounded_call(PVN_DOMAIN_PAUSE, way.name, ids[i]);
        bounded_call(PVN_DOMAIN_UNPAUSE, way.name, ids[i]);
        bounded(PVN_DOMAIN_SET_SCHED, way.name, [&] { set_schedule(ids[i], 2, 0); });
    }
    pvn_cpu_info cpu{};
    CHECK_EQUAL(hypercall(PVN_SYSTEM_CPU_INFO, 0, in_memory(&cpu), 1), 1);
    CHECK_EQUAL(cpu.homes, 1 + domains * 64);
    CHECK(cpu.runnable > 1 + domains * 64 * 2 / 3);
    for (auto const id : {ids[0], ids[domains / 2], ids[domains - 1]}) bounded(PVN_DOMAIN_DESTROY, "", [&] { must(guest::destroy_domain(id)); });
    CHECK(guest::all_bounds_hold);
}
