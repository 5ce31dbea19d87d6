// SPDX-License-Identifier: MIT
// Where a waking vCPU goes, and from where a CPU takes over work: pure decisions over the queues' summaries.
#pragma once

#include <optional>

#include "sched/policy.hpp"

// All of these read other queues' summaries (pool.hpp) without their locks, and change nothing.  What they return is a suggestion.
//
// The dispatcher's protocol, with at most one run-queue lock held at a time.  A vCPU's home changes under the lock of the queue that it
// leaves; who has taken a home's lock looks whether it still is the home, and else starts again.
//
//   wake:  home's lock:        if the entity is blocked:
//                                  cpu = place(pool, entity, home)
//                                  if cpu is home, or the vCPU is live at home: wake(entity); done
//                                  else remove(entity); home = cpu
//          new home's lock:    add(entity); wake(entity)
//          tell home to pick
//   pick:  own lock:           account(running); source = wanted(own queue)
//          if source:
//              source's lock:  entity = give(own cpu, source.wish, may_move)
//                              if entity: its home = own cpu
//              own lock:       receive(entity)
//          own lock:           pick_next()
//          if helper(pool, own cpu): tell that CPU to pick
//
// What can go wrong in between, and why it does not matter:
//  - the entity that was seen waiting runs, sleeps or is gone: give() returns another that fits the wish, or null;
//  - two CPUs want the same one: the second finds it gone, and asks again at its next pick, at most one allowance later;
//  - the idle CPU that place() chose has found work meanwhile: the entity waits there, and is pulled like any other;
//  - a queue went from idle to contended and nobody has seen it: each busy CPU looks again within two allowances.
// An entity in between is detached: wake() and block() on it do nothing.  The vCPU's own state is what counts: the dispatcher changes
// that first, and compares it with the entity's once more after receive(), to block one that was paused meanwhile.
// Two wake-ups of one vCPU at a time are kept apart by the vCPU's own lock, taken before the queue's.
// Test: BalanceThreads, with real threads (clean under the thread sanitizer, too).
namespace pvn::sched::balance {

// Whether it may have its home there: in the pool, and in its hard affinity unless that has no CPU of the pool (any more).
bool may_be_on(Pool const& pool, Affinity const& affinity, Cpu cpu);

// For a new vCPU: the CPU of its affinity with the fewest members.  No lock needed.
Cpu choose_home(Pool const& pool, Affinity const& affinity);

// The CPU where a waking one runs soonest, home if that is as good.  Under home's lock; the entity is blocked there.
Cpu place(Pool const& pool, Entity const& entity, Cpu home);

struct Source {
    Cpu cpu;
    Wish wish;
};
// From where this queue should take over work before it picks; nothing: from nowhere.  Under the own queue's lock.
std::optional<Source> wanted(Policy& queue, Nanoseconds now);

// After a pick: an idle CPU that could run what waits here.  Needed where affinity has sent a waker to a busy CPU.
// No lock needed.
std::optional<Cpu> helper(Pool const& pool, Cpu self);

}  // namespace pvn::sched::balance
