// SPDX-License-Identifier: MIT
#include "tlb/flush.hpp"

#include "arch/x86/per_cpu.hpp"
#include "domain/domain.hpp"
#include "interrupts/local_apic.hpp"
#include "lib/lock.hpp"
#include "trace/trace.hpp"

namespace pvn::tlb {
namespace {

constinit std::atomic<std::uint64_t> translation_clock{1};

// Has every other CPU that is in a guest and of which `wanted` is true leave it.
template <class Wanted>
void flush(Wanted wanted)
{
    std::array<std::uint64_t, cpu_limit> exits;
    std::uint64_t asked = 0;
    auto const self = this_cpu().id;
    for (std::uint32_t id = 0; id < cpu_count; ++id) {
        auto& cpu = *all_cpus[id];
        if (id == self || !cpu.in_guest.load() || !wanted(cpu)) continue;
        exits[id] = cpu.guest_exits.load();
        asked |= std::uint64_t{1} << id;
        local_apic::interrupt(cpu.apic_id);
    }
    if (asked != 0) trace::note(PVN_TRACE_FLUSH, asked);
    for (std::uint32_t id = 0; id < cpu_count; ++id)
        if ((asked >> id & 1) != 0)
            for (std::uint64_t rounds = 1; all_cpus[id]->in_guest.load() && all_cpus[id]->guest_exits.load() == exits[id]; ++rounds) {
                __builtin_ia32_pause();
                if (rounds % long_wait == 0) waiting_long();
            }
}

}  // namespace

// Whoever changes an entry reads `in_guest` afterwards.  If that is false still, this store comes later, and so does every
// translation that this CPU makes.
void entering_guest()
{
    auto& self = this_cpu();
    self.guest_since.store(translation_clock.load(), std::memory_order_relaxed);
    self.in_guest.store(true);
}

void left_guest()
{
    auto& self = this_cpu();
    self.in_guest.store(false, std::memory_order_relaxed);
    self.guest_exits.store(self.guest_exits.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

void dropped(Domain& domain) { domain.dropped_at = translation_clock.fetch_add(1) + 1; }

void flush_dropped(DomainId owner)
{
    flush([&](PerCpu const& cpu) {
        auto const* const vcpu = cpu.current.load();
        if (vcpu == nullptr) return false;
        auto const& domain = *vcpu->domain;
        return (domain.id == owner || domain.privileged) && cpu.guest_since.load() < domain.dropped_at;
    });
}

void flush_vcpus(Domain const& domain, std::uint64_t vcpus)
{
    flush([&](PerCpu const& cpu) {
        auto const* const vcpu = cpu.current.load();
        return vcpu != nullptr && vcpu->domain == &domain && (vcpus >> vcpu->id.raw() & 1) != 0;
    });
}

}  // namespace pvn::tlb
