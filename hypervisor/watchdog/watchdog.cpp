// SPDX-License-Identifier: MIT
#include "watchdog/watchdog.hpp"

#include "arch/x86/per_cpu.hpp"
#include "console/log.hpp"
#include "debug/symbols.hpp"
#include "interrupts/local_apic.hpp"
#include "lib/lock.hpp"
#include "machine.hpp"
#include "time/clock.hpp"

namespace pvn {
namespace watchdog {
namespace {

constexpr std::uint64_t second = 1'000'000'000;
constinit std::uint64_t longest = 0;  // ns that a CPU may stay in the hypervisor
constinit std::atomic<bool> started{false};

// What this CPU has seen of the one it watches.
struct Watch {
    std::uint64_t next_look;
    std::uint64_t since;  // it has stood still
    std::uint64_t exits;
    std::uint32_t cpu;
    bool asked;           // by NMI
    bool begun;
};
constinit std::array<Watch, cpu_limit> watches{};
// Set by who sends the NMI: one that comes from elsewhere, the chip set say, is no reason to end the machine.
constinit std::array<std::atomic<bool>, cpu_limit> asked{};

std::uint32_t next_online(std::uint32_t cpu)
{
    do
        cpu = cpu + 1 < cpu_count ? cpu + 1 : 0;
    while (!all_cpus[cpu]->online);
    return cpu;
}

}  // namespace

void initialise(std::uint64_t seconds) { longest = seconds * second; }
void start() { started = true; }

std::uint64_t next_look() { return longest == 0 || cpu_count < 2 ? ~std::uint64_t{0} : watches[this_cpu().id].next_look; }

void look()
{
    if (longest == 0 || cpu_count < 2) return;
    auto const now = clock::now();
    auto const self = this_cpu().id;
    auto& watch = watches[self];
    if (now < watch.next_look) return;
    watch.next_look = now + second;
    auto const id = next_online(self);
    auto const& other = *all_cpus[id];
    auto const exits = other.stay.exits.load();
    if (id == self || !started) return;
    if (!watch.begun || id != watch.cpu || exits != watch.exits || other.stay.in_guest || other.idle) {
        if (watch.asked) asked[watch.cpu] = false;  // it got on before the NMI came
        watch = {watch.next_look, now, exits, id, false, true};
        return;
    }
    if (now - watch.since < longest) return;
    if (watch.asked) {
        console::take_for_panic();
        log("CPU {} has been in the hypervisor for {} s and takes no NMI", id, (now - watch.since) / second);
        panic("watchdog");
    }
    watch.asked = true;
    asked[id] = true;
    local_apic::send_nmi(other.apic_id);
}

}  // namespace watchdog

void waiting_long() { watchdog::look(); }

// On the stack of NMIs, with the hypervisor's root loaded: the NMI hit the hypervisor's own text, at any instruction of it.
extern "C" void nmi_in_hypervisor(Registers* registers)
{
    auto const& r = *registers;
    if (!watchdog::asked[this_cpu().id]) return;
    console::take_for_panic();
    log("CPU {} hangs in the hypervisor: rip {} rsp {} rflags {}, locks held {}", this_cpu().id, Hex{r.rip}, Hex{r.rsp}, Hex{r.rflags},
        Hex{this_cpu().held_ranks});
    debug::log_address(r.rip);
    debug::log_backtrace(r.rbp);
    panic("watchdog");
}

}  // namespace pvn
