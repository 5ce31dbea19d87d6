// SPDX-License-Identifier: MIT
// CPUs that share work under one policy, and what each of their run queues shows the others without a lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "sched/cpu_mask.hpp"
#include "sched/entity.hpp"

namespace pvn::sched {

// What a run queue shows.  Written under that queue's lock, by the policy, at the end of every call that changes it; read by
// anyone without a lock.  Each field is whole, but the fields may be of different moments, and all may be old by the time they
// are used.  So they only ever suggest: whoever acts on them takes the queue's lock and asks its policy (give()), which decides
// by what is true then.  A stale summary makes a move late, or makes one be tried in vain; it never makes one wrong.
// Relaxed order is enough for that: nothing else is reached through these fields.
struct alignas(64) QueueSummary {
    struct Reading {
        std::uint32_t members = 0;       // entities of this queue, blocked ones too
        std::uint32_t runnable = 0;      // the running one too
        std::uint32_t waiting = 0;       // runnable, not running, and allowed on some other CPU of the pool
        std::uint64_t weight = 0;        // sum over the runnable ones
        VirtualTime time = 0;            // the queue's virtual time: least A of the runnable ones
        VirtualTime contended_time = 0;  // the same, with all that may be borrowed taken off each A
        VirtualTime waiting_time = 0;    // least E of those that `waiting` counts; of no meaning if there are none
        VirtualTime running_time = 0;    // E of the running one; of no meaning if none runs
        CpuMask waiting_cpus{};          // where one or another of those that `waiting` counts may run
        bool idle() const { return runnable == 0; }
    };

    Reading read() const
    {
        return {members_.load(relaxed), runnable_.load(relaxed), waiting_.load(relaxed), weight_.load(relaxed), time_.load(relaxed),
                contended_time_.load(relaxed), waiting_time_.load(relaxed), running_time_.load(relaxed), CpuMask{waiting_cpus_.load(relaxed)}};
    }
    void write(Reading const& reading)
    {
        members_.store(reading.members, relaxed);
        runnable_.store(reading.runnable, relaxed);
        waiting_.store(reading.waiting, relaxed);
        weight_.store(reading.weight, relaxed);
        time_.store(reading.time, relaxed);
        contended_time_.store(reading.contended_time, relaxed);
        waiting_time_.store(reading.waiting_time, relaxed);
        running_time_.store(reading.running_time, relaxed);
        waiting_cpus_.store(reading.waiting_cpus.bits(), relaxed);
    }

private:
    static constexpr auto relaxed = std::memory_order_relaxed;
    std::atomic<std::uint32_t> members_{0}, runnable_{0}, waiting_{0};
    std::atomic<std::uint64_t> weight_{0}, time_{0}, contended_time_{0}, waiting_time_{0}, running_time_{0}, waiting_cpus_{0};
};

// One per CPU of the machine; shared by all pools, as a CPU is in one pool at a time.
struct Board {
    QueueSummary queues[maximum_cpus];
};

class Pool {
public:
    explicit constexpr Pool(Board& board) : board_{board} {}
    Pool(Pool const&) = delete;
    Pool& operator=(Pool const&) = delete;

    CpuMask cpus() const { return CpuMask{cpus_.load(std::memory_order_relaxed)}; }
    void insert(Cpu cpu) { cpus_.fetch_or(CpuMask::only(cpu).bits(), std::memory_order_relaxed); }
    void erase(Cpu cpu) { cpus_.fetch_and(~CpuMask::only(cpu).bits(), std::memory_order_relaxed); }

    // Whether a vCPU keeps its CPU for good, asleep or not.
    bool sticky() const { return sticky_; }
    void set_sticky(bool sticky) { sticky_ = sticky; }  // before a CPU joins

    QueueSummary& queue(Cpu cpu) { return board_.queues[cpu]; }
    QueueSummary::Reading read(Cpu cpu) const { return board_.queues[cpu].read(); }

    // The virtual time that the contended queues other than that of `self` have surely reached: the least one of those where somebody
    // waits who could be moved.  What is borrowed by warp does not count: it would be forgiven if others were brought up to it.
    std::optional<VirtualTime> contended_time(Cpu self) const;

private:
    Board& board_;
    std::atomic<std::uint64_t> cpus_{0};
    bool sticky_ = false;
};

// Calls `act(cpu, reading)` for each CPU of `cpus`, `from` first, then going round.
template <class Act>
void for_each_queue(Pool const& pool, CpuMask cpus, Cpu from, Act act)
{
    for (CpuMask left = cpus; !left.empty();) {
        Cpu const cpu = left.next_from(from);
        left = left.without(cpu);
        act(cpu, pool.read(cpu));
    }
}

inline std::optional<VirtualTime> Pool::contended_time(Cpu self) const
{
    std::optional<VirtualTime> least;
    for_each_queue(*this, cpus().without(self), 0, [&](Cpu, QueueSummary::Reading const& queue) {
        if (queue.waiting != 0 && (!least || after(*least, queue.contended_time) > 0))
            least = queue.contended_time;
    });
    return least;
}

}  // namespace pvn::sched
