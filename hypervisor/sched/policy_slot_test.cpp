// SPDX-License-Identifier: MIT
// The other policies on many CPUs, and the choice among policies by name.
#include "sched/policy_slot.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>

#include "sched/testing/machine.hpp"

namespace pvn::sched {
namespace {

using namespace testing;

[[maybe_unused]] constinit PolicySlot boot_slots[2];  // no global constructor
[[maybe_unused]] constinit Board boot_board;
[[maybe_unused]] constinit Pool boot_pool{boot_board};

struct SlotMachine : Machine {
    SlotMachine(Kind kind, Cpu count)
    {
        for (Cpu cpu = 0; cpu < count; ++cpu)
            append(slots.emplace_back().start(kind, {}, pool(), cpu));
    }
    std::deque<PolicySlot> slots{};
};

double ran(SlotMachine const& machine, std::size_t task) { return static_cast<double>(machine.tasks()[task]->ran(machine.now())) * 1e-9; }

TEST(PolicyNames, find_their_policies)
{
    EXPECT_EQ(policy_kind("bvt"), Kind::bvt);
    EXPECT_EQ(policy_kind("rr"), Kind::round_robin);
    EXPECT_EQ(policy_kind("null"), Kind::null);
    EXPECT_EQ(policy_kind(""), std::nullopt);
    EXPECT_EQ(policy_kind("credit"), std::nullopt);
}

TEST(PolicySlot, can_be_started_anew_as_something_else)
{
    Board board;
    Pool first{board}, second{board};
    PolicySlot slot;
    EXPECT_FALSE(slot.started());
    EXPECT_STREQ(slot.start(Kind::bvt, {}, first, 3).name(), "bvt");
    EXPECT_EQ(slot.kind(), Kind::bvt);
    EXPECT_EQ(first.cpus(), CpuMask::only(3));
    Entity entity;
    slot->add(entity, 0);
    EXPECT_EQ(first.read(3).members, 1U);
    slot->remove(entity, 0);
    EXPECT_STREQ(slot.start(Kind::null, {}, second, 3).name(), "null");
    EXPECT_TRUE(first.cpus().empty());
    EXPECT_EQ(second.cpus(), CpuMask::only(3));
    EXPECT_TRUE(second.sticky());
    slot->add(entity, 0);
    slot->wake(entity, 0);
    EXPECT_EQ(slot->pick_next(0).entity, &entity);
    slot->remove(entity, 0);
    EXPECT_STREQ(slot.start(Kind::round_robin, {}, second, 3).name(), "round-robin");
    EXPECT_FALSE(second.sticky());
    slot.stop();
    EXPECT_TRUE(second.cpus().empty());
    EXPECT_FALSE(slot.started());
}

TEST(RoundRobinMachine, keeps_the_queues_equally_long)
{
    SlotMachine machine{Kind::round_robin, 4};
    for (int i = 0; i < 8; ++i)
        machine.add({.weight = i == 0 ? 1000U : 10U});
    for (int i = 0; i < 4; ++i)
        machine.add({}, [](Nanoseconds) { return Step{.run = millisecond, .sleep = 30 * millisecond}; });
    machine.run_for(4 * second);
    double total = 0;
    for (std::size_t i = 0; i < 12; ++i) {
        total += ran(machine, i);
        if (i < 8)
            EXPECT_NEAR(ran(machine, i), 2, 0.3);
    }
    EXPECT_NEAR(total, 16, 1e-6);
    EXPECT_TRUE(machine.progressed());
}

TEST(RoundRobinMachine, moves_what_waits_to_an_idle_cpu_but_not_against_affinity)
{
    SlotMachine machine{Kind::round_robin, 2};
    machine.add({}, [](Nanoseconds) { return Step{}; }, {.hard = CpuMask::only(0)});
    machine.add({}, [](Nanoseconds) { return Step{}; }, {.hard = CpuMask::only(0)});
    machine.add({}, [](Nanoseconds) { return Step{.run = second, .sleep = no_deadline / 2}; }, {.hard = CpuMask::only(1)});
    machine.run_for(3 * second);
    EXPECT_NEAR(ran(machine, 0), 1.5, 0.02);
    EXPECT_NEAR(ran(machine, 1), 1.5, 0.02);
    machine.add({});
    machine.run_for(second);
    EXPECT_NEAR(ran(machine, 3), 1, 1e-6);
}

// A longer queue gives whoever has waited longest of those who like it there; an idle CPU takes one who does not as well.
TEST(RoundRobinMachine, gives_the_longer_wait_and_not_against_soft_affinity)
{
    Board board;
    Pool pool{board};
    RoundRobin here, there;
    here.join(pool, 0);
    there.join(pool, 1);
    std::vector<Entity> entities(50);
    for (auto& e : entities) {
        here.add(e, 0);
        if (&e < &entities[20]) here.set_affinity(e, {.soft = CpuMask::only(0)});
        here.wake(e, 0);
    }
    ASSERT_EQ(here.pick_next(0).entity, &entities[0]);
    Wish const longer{.kind = Wish::Kind::longer, .runnable = 3}, anything{.kind = Wish::Kind::anything};
    for (std::size_t i = 20; i < 50; ++i) ASSERT_EQ(here.give(1, i % 2 == 0 ? longer : anything, always_may_move, 0), &entities[i]);
    EXPECT_EQ(here.give(1, longer, always_may_move, 0), nullptr);
    EXPECT_EQ(here.give(1, anything, always_may_move, 0), &entities[1]);
    EXPECT_EQ(here.give(1, {.kind = Wish::Kind::longer, .runnable = 100}, always_may_move, 0), nullptr);
}

// What a queue shows follows the affinity of those that wait.
TEST(RoundRobinMachine, shows_who_may_go_elsewhere)
{
    for (auto const kind : {Kind::round_robin, Kind::null}) {
        Board board;
        Pool pool{board};
        PolicySlot slots[2];
        for (Cpu cpu = 0; cpu < 2; ++cpu) (void)slots[cpu].start(kind, {}, pool, cpu);
        auto& here = *slots[0];
        Entity entities[3];
        for (auto& e : entities) {
            here.add(e, 0);
            here.wake(e, 0);
        }
        ASSERT_EQ(here.pick_next(0).entity, &entities[0]);
        EXPECT_EQ(pool.read(0).waiting, 2U);
        EXPECT_EQ(pool.read(0).waiting_cpus, CpuMask::only(1));
        for (auto& e : entities) here.set_affinity(e, {.hard = CpuMask::only(0)});
        EXPECT_EQ(pool.read(0).waiting, 0U);
        EXPECT_EQ(here.give(1, {.kind = Wish::Kind::anything}, always_may_move, 0), nullptr);
        here.set_affinity(entities[2], {.hard = CpuMask{1 | 2}});
        EXPECT_EQ(pool.read(0).waiting, 1U);
        EXPECT_EQ(here.give(1, {.kind = Wish::Kind::anything}, always_may_move, 0), &entities[2]);
        EXPECT_EQ(pool.read(0).waiting, 0U);
        EXPECT_EQ(here.runnable(), 2U);
    }
}

TEST(NullMachine, gives_each_its_own_cpu_and_never_interrupts_it)
{
    SlotMachine machine{Kind::null, 3};
    machine.add({});
    machine.add({}, [](Nanoseconds) { return Step{.run = millisecond, .sleep = millisecond}; });
    machine.add({.weight = 1});
    machine.run_for(2 * second);
    EXPECT_NEAR(ran(machine, 0), 2, 1e-6);
    EXPECT_NEAR(ran(machine, 1), 1, 0.01);
    EXPECT_NEAR(ran(machine, 2), 2, 1e-6);
    EXPECT_EQ(machine.moves(), 0U);
    EXPECT_EQ(machine.tasks()[1]->longest_wait, 0U);
}

TEST(NullPolicy, one_too_many_waits_until_a_cpu_is_free)
{
    Board board;
    Pool pool{board};
    PolicySlot here, there;
    here.start(Kind::null, {}, pool, 0);
    there.start(Kind::null, {}, pool, 1);
    Entity a, b, c;
    for (Entity* entity : {&a, &b}) {
        here->add(*entity, 0);
        here->wake(*entity, 0);
    }
    there->add(c, 0);
    EXPECT_EQ(here->pick_next(0), (Decision{&a, no_deadline}));
    here->yield(a, 0);
    EXPECT_FALSE(here->must_switch(second));
    here->block(a, 0);
    EXPECT_EQ(here->pick_next(0), Decision{});  // its owner sleeps
    EXPECT_FALSE(balance::wanted(*there, 0));   // so does this one's
    EXPECT_EQ(balance::place(pool, a, 0), 0U);
    EXPECT_FALSE(balance::helper(pool, 0));
    there->remove(c, 0);
    EXPECT_EQ(balance::helper(pool, 0), 1U);
    auto const source = balance::wanted(*there, 0);
    ASSERT_TRUE(source);
    EXPECT_EQ(here->give(1, source->wish, always_may_move, 0), &b);
    there->receive(b, 0);
    EXPECT_EQ(there->pick_next(0).entity, &b);
    here->wake(a, 0);
    EXPECT_TRUE(here->must_switch(0));
    EXPECT_EQ(here->pick_next(0).entity, &a);
    // Where the owner goes, who waits takes its place.
    here->add(c, 0);
    here->wake(c, 0);
    here->remove(a, 0);
    EXPECT_EQ(here->pick_next(0).entity, &c);
    EXPECT_EQ(here->set_parameters(a, {}, 0), Result<void>{Fail{Error::not_found}});
    EXPECT_EQ(here->set_parameters(c, {.weight = 0}, 0), Result<void>{Fail{Error::invalid}});
    EXPECT_TRUE(here->set_parameters(c, {.weight = 5}, 0));
}

TEST(NullPolicy, senseless_calls_do_nothing)
{
    Null queue;
    Entity a;
    queue.wake(a, 0);
    queue.block(a, 0);
    queue.remove(a, 0);
    EXPECT_EQ(queue.pick_next(0), Decision{});
    queue.add(a, 0);
    queue.add(a, 0);
    queue.wake(a, 0);
    queue.wake(a, 0);
    EXPECT_EQ(queue.give(1, {.kind = Wish::Kind::anything}, always_may_move, 0), nullptr);
    EXPECT_EQ(queue.pick_next(0).entity, &a);
    queue.remove(a, 0);
    EXPECT_EQ(queue.pick_next(0), Decision{});
}

}  // namespace
}  // namespace pvn::sched
