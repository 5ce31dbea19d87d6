// SPDX-License-Identifier: MIT
#include "dispatcher/pools.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "arch/x86/per_cpu.hpp"
#include "dispatcher/run_queue.hpp"
#include "dispatcher/schedule.hpp"
#include "lib/bounded.hpp"
#include "time/clock.hpp"

namespace pvn::pools {
namespace {

// The same board for all: a CPU is in one pool at a time.
constinit sched::Board board{};

struct Slot {
    sched::Pool cpus{board};
    sched::Kind kind{};
    bool exists = false;  // of the domains lock
};
template <std::size_t... I>
constexpr std::array<Slot, limit> make_slots(std::index_sequence<I...>)
{
    return {((void)I, Slot{})...};
}
constinit std::array<Slot, limit> slots = make_slots(std::make_index_sequence<limit>{});

Result<Slot*> find(std::uint64_t pool)
{
    if (pool >= limit) return Fail{Error::not_found};
    auto& slot = slots[bounded(pool, limit)];
    if (!slot.exists) return Fail{Error::not_found};
    return &slot;
}

// Calls act(domain) for each domain of the pool.
template <class Act>
void for_each_domain(std::uint64_t pool, Act act)
{
    for (auto* domain = domains::first_from(0); domain != nullptr; domain = domains::first_from(domain->id.raw() + 1u))
        if (domain->pool == pool) act(*domain);
}

bool serves(sched::CpuMask cpus, Domain const& domain)
{
    for (auto* const vcpu : domain.all_vcpus())
        if ((vcpu->entity.affinity().hard & cpus).empty()) return false;
    return true;
}

// Grows whenever who needs which CPU may have become another matter.
constinit std::uint64_t epoch = 0;  // of the domains lock

// Whether a pool could do with these CPUs only; false: the time was up before that was known.  `searched` is the next domain to look at,
// and in which epoch; if that is over, all that has been found is void.
Result<bool> suffices(std::uint64_t pool, sched::CpuMask left, std::uint64_t& searched, std::uint64_t until)
{
    constexpr std::uint64_t ids = 2 * domain_limit, epochs = 1 << 20;
    if (pool == 0 && left.empty()) return Fail{Error::busy};
    auto const in_epoch = epoch % epochs * ids;
    auto const from = searched >= in_epoch && searched - in_epoch <= domain_limit ? searched - in_epoch : 0;
    for (auto* domain = domains::first_from(static_cast<std::uint32_t>(from)); domain != nullptr; domain = domains::first_from(domain->id.raw() + 1u)) {
        if (domain->pool != pool) continue;
        if (!serves(left, *domain)) return Fail{Error::busy};
        searched = in_epoch + domain->id.raw() + 1u;
        if (clock::now() >= until) return false;
    }
    return true;
}

void empty(PerCpu& cpu)
{
    cpu.send_away = true;
    schedule::kick(cpu);
}

}  // namespace

sched::Pool& get(std::uint32_t pool) { return slots[pool].cpus; }
sched::Pool& of(Vcpu const& vcpu) { return get(vcpu.domain->pool); }
sched::Pool& of(std::uint32_t cpu) { return get(schedule::queues[cpu].pool); }
sched::Kind kind_of(std::uint32_t cpu) { return slots[schedule::queues[cpu].pool].kind; }

std::string_view policy_name(std::uint32_t pool) { return std::ranges::find(sched::policy_names, slots[pool].kind, &sched::PolicyName::kind)->name; }

void initialise(sched::Kind kind)
{
    slots[0].kind = kind;
    slots[0].exists = true;
    for (std::uint32_t cpu = 0; cpu < cpu_count; ++cpu) {
        Guard const guard{schedule::queues[cpu].lock};
        schedule::queues[cpu].policy.start(kind, {}, slots[0].cpus, cpu);
    }
}

Result<std::uint32_t> create(sched::Kind kind)
{
    for (std::uint32_t pool = 0; pool < limit; ++pool)
        if (auto& slot = slots[pool]; !slot.exists) {
            slot.kind = kind;
            slot.exists = true;
            return pool;
        }
    return Fail{Error::no_space};
}

Result<void> destroy(std::uint64_t pool)
{
    auto* const slot = PVN_TRY(find(pool));
    if (pool == 0) return Fail{Error::invalid};
    bool used = false;
    for_each_domain(pool, [&](Domain const&) { used = true; });
    for (std::uint32_t cpu = 0; cpu < cpu_count; ++cpu) used = used || schedule::queues[cpu].pool == pool;
    if (used) return Fail{Error::busy};
    slot->exists = false;
    return {};
}

Result<bool> take_cpu(std::uint64_t pool, std::uint64_t id, std::uint64_t& searched, std::uint64_t until)
{
    PVN_TRY(find(pool));
    if (id >= cpu_count) return Fail{Error::not_found};
    auto& cpu = *all_cpus[bounded(id, cpu_limit)];
    auto& queue = schedule::queues[cpu.id];
    if (cpu.parked) return Fail{Error::invalid};
    if (queue.moving) return Fail{Error::again};
    if (queue.pool == pool) return Fail{Error::exists};
    auto& old = of(cpu.id);
    if (!PVN_TRY(suffices(queue.pool, old.cpus().without(cpu.id), searched, until))) return false;
    old.erase(cpu.id);
    ++epoch;
    queue.pool = static_cast<std::uint32_t>(pool);
    queue.moving = true;
    empty(cpu);
    return true;
}

bool is_moving(std::uint64_t cpu) { return cpu < cpu_count && schedule::queues[bounded(cpu, cpu_limit)].moving; }

Result<void> take_domain(std::uint64_t pool, Domain& domain)
{
    auto const* const slot = PVN_TRY(find(pool));
    if (!serves(slot->cpus.cpus(), domain)) return Fail{Error::invalid};
    domain.pool = static_cast<std::uint32_t>(pool);
    ++epoch;
    for (auto* const vcpu : domain.all_vcpus()) schedule::send_where_it_may_be(*vcpu);
    return {};
}

Result<void> set_affinity(Vcpu& vcpu, sched::Affinity const& affinity)
{
    ++epoch;
    return schedule::set_affinity(vcpu, affinity);
}

Result<bool> set_online(std::uint64_t id, bool online, std::uint64_t& searched, std::uint64_t until)
{
    if (id >= cpu_count) return Fail{Error::not_found};
    auto& cpu = *all_cpus[bounded(id, cpu_limit)];
    auto const& queue = schedule::queues[cpu.id];
    if (queue.moving) return Fail{Error::again};
    if (cpu.parked != online) return Fail{Error::exists};
    auto& pool = of(cpu.id);
    if (online) {
        pool.insert(cpu.id);
        cpu.parked = false;
        schedule::kick(cpu);
        return true;
    }
    if (!PVN_TRY(suffices(queue.pool, pool.cpus().without(cpu.id), searched, until))) return false;
    pool.erase(cpu.id);
    ++epoch;
    cpu.parked = true;
    empty(cpu);
    return true;
}

bool fill_info(std::uint32_t pool, pvn_pool_info& info)
{
    auto const slot = find(pool);
    if (!slot) return false;
    info.pool = pool;
    info.policy = static_cast<std::uint32_t>((*slot)->kind);
    info.cpus = (*slot)->cpus.cpus().bits();
    for_each_domain(pool, [&](Domain const&) { ++info.domains; });
    return true;
}

}  // namespace pvn::pools
