// SPDX-License-Identifier: MIT
// Where a waking vCPU goes, and from where a CPU takes over work: pure decisions over the queues' summaries.
#pragma once

#include <optional>

#include "sched/policy.hpp"

// All of these read summaries (pool.hpp) without a lock, and change nothing.  What they return is a suggestion.
//
// The dispatcher's protocol, with at most one run-queue lock held at a time:
//
//   wake:  cpu = place(pool, entity, home)                                      no lock; whoever won the vCPU's wake-up
//          if cpu is not home, and the vCPU is not live at home:
//              home's lock:    remove(entity)                                   it is blocked, so nobody else moves it
//              home = cpu
//              home's lock:    add(entity)
//          home's lock:        wake(entity);  then tell home to pick
//   pick:  own lock:           account(running); source = wanted(own queue)
//          if source:
//              source's lock:  entity = give(own cpu, source.wish, may_move)
//              if entity:      its home = own cpu
//              own lock:       receive(entity)
//          own lock:           pick_next()
//          if helper(pool, own cpu): tell that CPU to pick
//
// What can go wrong in between, and why it does not matter:
//  - the entity that was seen waiting runs, sleeps or is gone: give() returns another that fits the wish, or null;
//  - two CPUs want the same one: the second finds it gone, and asks again at its next pick, at most one allowance later;
//  - the idle CPU that place() chose has found work meanwhile: the entity waits there, and is pulled like any other;
//  - a queue went from idle to contended and nobody has seen it: each busy CPU looks again within two allowances.
// An entity in between is detached: wake() and block() on it do nothing.  The vCPU's own state is what counts: the dispatcher compares
// it with the entity's once more after receive(), and blocks one that was paused meanwhile.
namespace pvn::sched::balance {

// For a new vCPU: the CPU of its affinity with the fewest members.
Cpu choose_home(Pool const& pool, Affinity const& affinity);

// The CPU where a waking one runs soonest, home if that is as good.  The entity is blocked, and not changed meanwhile.
Cpu place(Pool const& pool, Entity const& entity, Cpu home);

struct Source {
    Cpu cpu;
    Wish wish;
};
// From where this queue should take over work before it picks; nothing: from nowhere.  Under the own queue's lock.
std::optional<Source> wanted(Policy const& queue, Nanoseconds now);

// After a pick: an idle CPU that could run what waits here.  Needed where affinity has sent a waker to a busy CPU.
std::optional<Cpu> helper(Pool const& pool, Cpu self);

}  // namespace pvn::sched::balance
