// SPDX-License-Identifier: MIT
// Round robin: equal slices in turn, through the same seam.
#include "sched/round_robin.hpp"

#include <gtest/gtest.h>

#include "sched/testing/simulator.hpp"

namespace pvn::sched {
namespace {

using namespace testing;

[[maybe_unused]] constinit RoundRobin boot_queue;  // no global constructor

TEST(RoundRobin, gives_equal_slices_whatever_the_weights)
{
    RoundRobin policy;
    Simulator cpu{policy};
    cpu.add({.weight = 1});
    cpu.add({.weight = 1000});
    cpu.add({});
    cpu.run_for(300 * millisecond);
    for (auto const& task : cpu.tasks())
        EXPECT_EQ(task->ran, 100 * millisecond);
    EXPECT_TRUE(cpu.agreed() && cpu.progressed());
}

TEST(RoundRobin, takes_turns_in_order)
{
    RoundRobin policy{millisecond};
    Entity a, b, c;
    for (Entity* entity : {&a, &b, &c}) {
        policy.add(*entity, 0);
        policy.wake(*entity, 0);
    }
    Nanoseconds now = 0;
    for (Entity* expected : {&a, &b, &c, &a, &b}) {
        Decision const decision = policy.pick_next(now);
        EXPECT_EQ(decision.entity, expected);
        EXPECT_EQ(decision.until, now + millisecond);
        now = decision.until;
    }
}

TEST(RoundRobin, yield_and_block_let_the_next_one_go)
{
    RoundRobin policy{millisecond};
    Entity a, b;
    policy.add(a, 0);
    policy.add(b, 0);
    policy.wake(a, 0);
    EXPECT_EQ(policy.pick_next(0), (Decision{&a, no_deadline}));
    policy.yield(a, 0);
    EXPECT_EQ(policy.pick_next(0).entity, &a);
    policy.wake(b, 0);
    EXPECT_FALSE(policy.must_switch(0));
    policy.yield(a, 0);
    EXPECT_TRUE(policy.must_switch(0));
    EXPECT_EQ(policy.pick_next(0).entity, &b);
    policy.block(b, 0);
    EXPECT_EQ(policy.pick_next(0).entity, &a);
    policy.remove(a, 0);
    EXPECT_EQ(policy.pick_next(0), Decision{});
}

TEST(RoundRobin, checks_parameters)
{
    RoundRobin policy;
    Entity a;
    EXPECT_EQ(policy.set_parameters(a, {}, 0), Result<void>{Fail{Error::not_found}});
    policy.add(a, 0);
    EXPECT_EQ(policy.set_parameters(a, {.weight = 0}, 0), Result<void>{Fail{Error::invalid}});
    EXPECT_TRUE(policy.set_parameters(a, {.weight = 3}, 0));
}

}  // namespace
}  // namespace pvn::sched
