// SPDX-License-Identifier: MIT
#include "sched/balance.hpp"

#include <algorithm>

namespace pvn::sched::balance {
namespace {

// Where an entity may be: its hard affinity within the pool; the whole pool rather than nowhere.
CpuMask allowed(Pool const& pool, Affinity const& affinity)
{
    CpuMask const cpus = affinity.hard & pool.cpus();
    return cpus.empty() ? pool.cpus() : cpus;
}

CpuMask preferred(CpuMask allowed, Affinity const& affinity)
{
    CpuMask const cpus = affinity.soft & allowed;
    return cpus.empty() ? allowed : cpus;
}

Cpu idle_one(Pool const& pool, CpuMask cpus, Cpu from)
{
    Cpu found = maximum_cpus;
    for_each_queue(pool, cpus, from, [&](Cpu cpu, QueueSummary::Reading const& queue) {
        if (found == maximum_cpus && queue.idle())
            found = cpu;
    });
    return found;
}

// By how much virtual time the running one is past where the waker would start, were it put there.  The more, the sooner it runs.
std::int64_t advantage(QueueSummary::Reading const& queue, Entity const& entity)
{
    VirtualTime const actual = entity.account().actual;
    VirtualTime const start = after(queue.time, actual) > 0 ? queue.time : actual;
    return after(queue.running_time, start - entity.parameters().warp / default_weight);
}

}  // namespace

bool may_be_on(Pool const& pool, Affinity const& affinity, Cpu cpu) { return allowed(pool, affinity).has(cpu); }

Cpu choose_home(Pool const& pool, Affinity const& affinity)
{
    Cpu best = 0;
    std::uint32_t fewest = UINT32_MAX;
    for_each_queue(pool, preferred(allowed(pool, affinity), affinity), 0, [&](Cpu cpu, QueueSummary::Reading const& queue) {
        if (queue.members < fewest) {
            fewest = queue.members;
            best = cpu;
        }
    });
    return best;
}

Cpu place(Pool const& pool, Entity const& entity, Cpu home)
{
    if (pool.sticky())
        return home;
    Affinity const& affinity = entity.affinity();
    CpuMask const may = allowed(pool, affinity);
    if (may.without(home).empty())
        return home;
    CpuMask const likes = preferred(may, affinity);
    QueueSummary::Reading const there = pool.read(home);
    bool const at_home = likes.has(home);
    if (at_home && there.idle())
        return home;
    // Soft affinity is worth less than a CPU that is free.
    for (CpuMask const cpus : {likes, may})
        if (Cpu const idle = idle_one(pool, cpus, home); idle != maximum_cpus)
            return idle;

    // Nobody is idle.  One that may warp goes where it is ahead of the running one by most; home is as good if it is well ahead
    // there.  Any other goes where the load is least, but leaves home only if it is better off even with its own weight there.
    bool const warps = entity.parameters().warping == Warp::enabled && entity.parameters().warp != 0;
    Cpu best = at_home ? home : maximum_cpus;
    std::int64_t most = at_home && warps ? advantage(there, entity) : INT64_MIN;
    if (at_home && warps && most >= static_cast<std::int64_t>(entity.parameters().warp / default_weight / 2))
        return home;
    std::uint64_t least = at_home ? there.weight : UINT64_MAX;
    for_each_queue(pool, likes, home, [&](Cpu cpu, QueueSummary::Reading const& queue) {
        if (cpu == home)
            return;
        bool const better = warps ? best == maximum_cpus || advantage(queue, entity) > most
                                  : best == maximum_cpus || queue.weight + (best == home ? entity.parameters().weight : 0) < least;
        if (!better)
            return;
        best = cpu;
        most = advantage(queue, entity);
        least = queue.weight;
    });
    return best;
}

std::optional<Source> wanted(Policy& queue, Nanoseconds now)
{
    Pool const* const pool = queue.pool();
    if (pool == nullptr)
        return {};
    CpuMask const others = pool->cpus().without(queue.cpu());
    if (others.empty())
        return {};
    auto const might_come = [&](QueueSummary::Reading const& other) { return other.waiting != 0 && other.waiting_cpus.has(queue.cpu()); };
    // Mostly nobody waits anywhere, and then it does not matter what is wished for.
    bool any = false;
    for_each_queue(*pool, others, queue.cpu(), [&](Cpu, QueueSummary::Reading const& other) { any = any || might_come(other); });
    if (!any)
        return {};
    Wish const wish = queue.wish(now);
    if (wish.kind == Wish::Kind::nothing)
        return {};
    std::optional<Source> found;
    QueueSummary::Reading best;
    for_each_queue(*pool, others, queue.cpu(), [&](Cpu cpu, QueueSummary::Reading const& other) {
        if (!might_come(other))
            return;
        bool better = false;
        switch (wish.kind) {
        case Wish::Kind::nothing:
            break;
        case Wish::Kind::earlier:
            better = after(wish.time, other.waiting_time) >= 0 && (!found || after(best.waiting_time, other.waiting_time) > 0);
            break;
        case Wish::Kind::longer:
            better = other.runnable >= wish.runnable && (!found || other.runnable > best.runnable);
            break;
        case Wish::Kind::anything:
            better = !found || after(best.waiting_time, other.waiting_time) > 0;
            break;
        }
        if (better) {
            best = other;
            found = {cpu, wish};
        }
    });
    return found;
}

std::optional<Cpu> helper(Pool const& pool, Cpu self)
{
    if (pool.cpus().without(self).empty())
        return {};
    QueueSummary::Reading const here = pool.read(self);
    if (here.waiting == 0)
        return {};
    Cpu const idle = idle_one(pool, (here.waiting_cpus & pool.cpus()).without(self), self);
    if (idle == maximum_cpus)
        return {};
    return idle;
}

}  // namespace pvn::sched::balance
