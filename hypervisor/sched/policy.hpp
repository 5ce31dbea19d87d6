// SPDX-License-Identifier: MIT
// The seam between the dispatcher and what decides who runs: one object per CPU.
#pragma once

#include "sched/entity.hpp"
#include "sched/pool.hpp"

namespace pvn::sched {

struct Decision {
    Entity* entity = nullptr;         // null: nothing to run
    Nanoseconds until = no_deadline;  // ask again (account, then rebalance, then pick_next) no later than this

    friend constexpr bool operator==(Decision const&, Decision const&) = default;
};

// What a queue would take over from another one.
struct Wish {
    enum class Kind : std::uint8_t {
        nothing,
        anything,  // whatever waits: this CPU is idle
        earlier,   // one whose effective virtual time is `time` or earlier
        longer,    // one of a queue with at least `runnable` entities
    };
    Kind kind = Kind::nothing;
    VirtualTime time = 0;
    std::uint32_t runnable = 0;
};

// Whether an entity may leave its CPU now; the dispatcher says no while its registers are live there.
using MayMove = bool (*)(Entity const&);
constexpr bool always_may_move(Entity const&) { return true; }

// A run queue.  Not locked: the caller holds the run queue's lock of this CPU around every call.  `now` never goes back, and is
// the same clock on every CPU (give or take the microsecond that two CPUs' clocks may differ by).
// The dispatcher calls account() for the running entity before every other call that concerns it (pick_next, block,
// yield, remove, set_parameters), with the time since the last account() or since the pick_next() that chose it.
// After wake(), receive() and set_parameters() it asks pick_next() again even where must_switch() says no: the running one
// then goes on, but its deadline may have become sooner.  After wake() may_go_on() may spare it that.
// A call that makes no sense for the entity's state (wake a runnable one, block a blocked one, anything but add() or receive()
// on a detached one) does nothing.
//
// Several CPUs: each queue joins a pool.  It then shows the others a summary (pool.hpp), and work moves between queues, always with
// one queue locked at a time: give() under the source's lock, receive() under the destination's.  In between, the entity is
// detached and belongs to whoever holds the pointer.  balance.hpp says when and where.
class Policy {
public:
    virtual char const* name() const = 0;

    virtual void add(Entity& entity, Nanoseconds now) = 0;     // detached -> blocked; keeps its parameters
    virtual void remove(Entity& entity, Nanoseconds now) = 0;  // -> detached; also while it runs
    virtual void wake(Entity& entity, Nanoseconds now) = 0;    // blocked -> runnable
    virtual void block(Entity& entity, Nanoseconds now) = 0;   // runnable -> blocked
    virtual void yield(Entity& entity, Nanoseconds now) = 0;   // lets another runnable one, if any, go first

    virtual void account(Entity& entity, Nanoseconds ran) = 0;
    virtual Decision pick_next(Nanoseconds now) = 0;
    // Right after wake(), with all time up to `now` accounted: for how long the running one may go on beside the one that woke, if
    // nothing else ends its slice before.  0: ask pick_next(), who knows better.
    virtual Nanoseconds may_go_on(Entity const&, Nanoseconds) const { return 0; }
    virtual bool must_switch(Nanoseconds now) = 0;  // would pick_next() now choose another than the running one?
                                                    // Time not yet accounted is taken into it.

    // Errors: not_found (detached), invalid (out of range); then nothing has changed.
    virtual Result<void> set_parameters(Entity& entity, Parameters const& parameters, Nanoseconds now) = 0;

    // Work that moves.
    virtual Wish wish(Nanoseconds now) = 0;  // what this queue would take, were there only pick_next() to come
    // The best of those who wait, may run on `to` and leave here, and fit the wish: runnable -> detached.  Null: none.
    virtual Entity* give(Cpu to, Wish const& wish, MayMove may_move, Nanoseconds now) = 0;
    virtual void receive(Entity& entity, Nanoseconds now) = 0;  // detached -> runnable; it keeps the place that its waiting earned

    // Affects where it may be moved and woken.  Moving it away from a CPU it may no longer run on is the dispatcher's business.
    void set_affinity(Entity& entity, Affinity const& affinity)
    {
        entity.affinity_ = affinity;
        affinity_changed(entity);
        publish();
    }

    // At boot, or when a CPU changes its pool; the queue is empty of members.  Without a pool a queue stands alone.
    void join(Pool& pool, Cpu cpu)
    {
        pool_ = &pool;
        cpu_ = cpu;
        pool.insert(cpu);
        publish();
    }
    void leave()
    {
        if (pool_ != nullptr)
            pool_->erase(cpu_);
        pool_ = nullptr;
    }
    Pool* pool() const { return pool_; }
    Cpu cpu() const { return cpu_; }

    std::uint32_t members() const { return members_; }     // from add() or receive() on, to remove() or give()
    virtual std::uint32_t runnable() const = 0;            // of these; the running one too

    Policy(Policy const&) = delete;
    Policy& operator=(Policy const&) = delete;

protected:
    constexpr Policy() = default;
    ~Policy() = default;  // not virtual: never deleted through the seam

    // Shows the queue as it now is.
    virtual void publish() = 0;
    virtual void affinity_changed(Entity& entity) = 0;
    // Of one that waits.  CPUs may come to the pool and go while it does, so those outside count as well.
    Standing standing(Entity& entity, VirtualTime time) const
    {
        CpuMask const elsewhere = entity.affinity_.hard.without(cpu_);
        Place const place{time, entity.turn_};
        return {.first = &entity, .place = place, .mover = place, .elsewhere = elsewhere, .weight = entity.parameters_.weight};
    }

    Pool* pool_ = nullptr;
    Cpu cpu_ = 0;
    std::uint32_t members_ = 0;
};

}  // namespace pvn::sched
