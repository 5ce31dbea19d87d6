// SPDX-License-Identifier: MIT
// The seam between the dispatcher and what decides who runs: one object per CPU.
#pragma once

#include "sched/entity.hpp"

namespace pvn::sched {

struct Decision {
    Entity* entity = nullptr;         // null: nothing to run
    Nanoseconds until = no_deadline;  // ask again (account, then pick_next) no later than this

    friend constexpr bool operator==(Decision const&, Decision const&) = default;
};

// A run queue.  Not locked: the caller holds the run queue's lock of this CPU around every call.  `now` never goes back.
// The dispatcher calls account() for the running entity before every other call that concerns it (pick_next, block,
// yield, remove, set_parameters), with the time since the last account() or since the pick_next() that chose it.
// After wake() and set_parameters() it asks pick_next() again even where must_switch() says no: the running one then
// goes on, but its deadline may have become sooner.
// A call that makes no sense for the entity's state (wake a runnable one, block a blocked one, anything but add() on a
// detached one) does nothing.
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
    virtual bool must_switch(Nanoseconds now) const = 0;  // would pick_next() now choose another than the running one?
                                                          // Time not yet accounted is taken into it.

    // Errors: not_found (detached), invalid (out of range); then nothing has changed.
    virtual Result<void> set_parameters(Entity& entity, Parameters const& parameters, Nanoseconds now) = 0;

    Policy(Policy const&) = delete;
    Policy& operator=(Policy const&) = delete;

protected:
    constexpr Policy() = default;
    ~Policy() = default;  // not virtual: never deleted through the seam
};

}  // namespace pvn::sched
