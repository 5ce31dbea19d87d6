// SPDX-License-Identifier: MIT
#include "tlb/flush.hpp"

#include "arch/x86/per_cpu.hpp"
#include "domain/domain.hpp"
#include "interrupts/local_apic.hpp"
#include "lib/lock.hpp"
#include "tlb/rule.hpp"
#include "trace/trace.hpp"

namespace pvn::tlb {
namespace {

constinit TranslationClock<std::atomic> translation_clock{};

struct Cpus {
    static std::uint32_t count() { return cpu_count; }
    static std::uint32_t self() { return this_cpu().id; }
    static GuestStay<std::atomic>& stay(std::uint32_t id) { return all_cpus[id]->stay; }
    static bool has_pcids(std::uint32_t id) { return all_cpus[id]->pcids; }
    static void interrupt(std::uint32_t id) { local_apic::interrupt(all_cpus[id]->apic_id); }
    template <class Condition>
    static void wait_until(Condition condition)
    {
        for (std::uint64_t rounds = 1; !condition(); ++rounds) {
            __builtin_ia32_pause();
            if (rounds % long_wait == 0) waiting_long();
        }
    }
};

template <class Wanted>
void flush(Wanted wanted)
{
    Cpus cpus;
    if (auto const asked = have_leave(cpus, wanted); asked != 0) trace::note(PVN_TRACE_FLUSH, asked);
}

}  // namespace

void entering_guest()
{
    auto& self = this_cpu();
    if (self.pcids)
        self.forget_guest = self.stay.enter_again(translation_clock, self.forget_guest);
    else
        self.stay.enter(translation_clock);
}

void left_guest() { this_cpu().stay.leave(); }

void forget_guest() { this_cpu().forget_guest = true; }

void dropped(Domain& domain) { domain.dropped_at = translation_clock.tick(); }

void flush_dropped(DomainId owner)
{
    flush([&](std::uint32_t id) {
        auto const& cpu = *all_cpus[id];
        auto const* const vcpu = cpu.current.load();
        if (vcpu == nullptr) return false;
        auto const& domain = *vcpu->domain;
        return (domain.id == owner || domain.privileged) && cpu.stay.may_remember(domain.dropped_at);
    });
}

void flush_vcpus(Domain const& domain, std::uint64_t vcpus)
{
    flush([&](std::uint32_t id) {
        auto const* const vcpu = all_cpus[id]->current.load();
        return vcpu != nullptr && vcpu->domain == &domain && (vcpus >> vcpu->id.raw() & 1) != 0;
    });
}

}  // namespace pvn::tlb
