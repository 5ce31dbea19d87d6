// SPDX-License-Identifier: MIT
#include "debug/keys.hpp"

#include <algorithm>

#include "arch/x86/cpu.hpp"
#include "arch/x86/per_cpu.hpp"
#include "audit/audit.hpp"
#include "console/log.hpp"
#include "dispatcher/notify.hpp"
#include "dispatcher/schedule.hpp"
#include "domain/domain.hpp"

// Numbers are read without the locks that guard them: a look from outside, which may be a moment old.
namespace pvn::debug {
namespace {

void help();

std::string_view state_of(Vcpu const& vcpu)
{
    switch (vcpu.state) {
    case VcpuState::offline: return "offline";
    case VcpuState::runnable: return "runnable";
    case VcpuState::blocked: return vcpu.poll_count != 0 ? "polling" : "blocked";
    }
    return "?";
}

// One does not leave the hypervisor meanwhile, so a domain stays though interrupts are let in.
template <class What>
void for_each_domain(What what)
{
    for (auto* domain = domains::first_from(0); domain != nullptr; domain = domains::first_from(domain->id.raw() + 1u)) what(*domain);
}

void show_domains()
{
    for_each_domain([](Domain& domain) PVN_UNCHECKED {
        log("d{}: {} of {} frames, {} vCPUs, paused {} times{}{}", domain.id.raw(), domain.frames, domain.limit, domain.vcpu_count,
            domain.pause_count.load(), domain.shut_down ? ", shut down" : "", domain.dying ? ", dying" : "");
        for (auto const* const vcpu : domain.all_vcpus()) {
            schedule::let_interrupts_in();
            log("  v{}: {}, rip {} when last saved, event_mask {} event_pending {}, timer {}", vcpu->id.raw(), state_of(*vcpu), Hex{vcpu->registers.rip},
                vcpu->page->event_mask, vcpu->page->event_pending, vcpu->timer.look());
        }
    });
}

void show_run_queues()
{
    for (std::uint32_t id = 0; id < cpu_count; ++id) {
        auto const& cpu = *all_cpus[id];
        auto const* const current = cpu.current.load();
        log("CPU {}: {}", id, cpu.idle ? "idle" : cpu.stay.in_guest ? "in a guest" : "in the hypervisor");
        for_each_domain([&](Domain& domain) {
            schedule::let_interrupts_in();
            for (auto const* const vcpu : domain.all_vcpus())
                if (vcpu->home == id && vcpu->state != VcpuState::offline) {
                    schedule::let_interrupts_in();
                    log("  d{} v{}: {}{}, {} ns used", domain.id.raw(), vcpu->id.raw(), state_of(*vcpu), vcpu == current ? ", loaded" : "", vcpu->cpu_time);
                }
        });
    }
}

void audit_frames()
{
    // Who presses a key waits rather than press it again: on a busy host each try gives up after a fifth of a second.
    auto found = audit::run();
    for (int tries = 1; tries < 10 && !found && found.error() == Error::again; ++tries) found = audit::run();
    if (!found) return log(found.error() == Error::again ? "audit: not now, another CPU is busy" : "audit: too little memory for it");
    log("audit: {} discrepancies", *found);
}

void raise_debug()
{
    for_each_domain([](Domain& domain) {
        for (auto* const vcpu : domain.all_vcpus()) {
            schedule::let_interrupts_in();
            event::raise_vcpu_virq(*vcpu, PVN_VIRQ_DEBUG);
        }
    });
    log("PVN_VIRQ_DEBUG raised");
}

// For the test of the watchdog.
[[noreturn, gnu::noinline]] void hang()
{
    log("CPU {} hangs, as asked for", this_cpu().id);
    for (;;) cpu::pause();
}

constexpr struct {
    char letter;
    void (*what)();
    std::string_view text;
} keys[] = {
    {'H', +[] { hang(); }, "hangs this CPU with interrupts off, for the watchdog to find"},
    {'P', +[] { panic("asked for by debug key"); }, "ends the machine with a panic"},
    {'a', audit_frames, "audits the frame table against all page tables"},
    {'d', show_domains, "shows the domains and their vCPUs"},
    {'h', help, "lists the keys"},
    {'r', show_run_queues, "shows what the CPUs do"},
    {'v', raise_debug, "raises PVN_VIRQ_DEBUG in every vCPU"},
};

void help()
{
    for (auto const& k : keys) log("key {}: {}", std::string_view{&k.letter, 1}, k.text);
}

}  // namespace

Result<void> key(char letter)
{
    for (auto const& k : keys)
        if (k.letter == letter) {
            k.what();
            return {};
        }
    return Fail{Error::invalid};
}

}  // namespace pvn::debug
