// SPDX-License-Identifier: MIT
#include "time/guest_timer.hpp"

#include <gtest/gtest.h>

namespace pvn {
namespace {

TEST(GuestTimer, is_due_at_the_deadline_that_was_set)
{
    GuestTimer timer;
    EXPECT_EQ(timer.look(), 0u);
    timer.set(100);
    EXPECT_EQ(timer.look(), 100u);
    EXPECT_TRUE(timer.due(100, 0, 100));
    EXPECT_EQ(timer.look(), 0u) << "once";
}

TEST(GuestTimer, looks_again_at_a_deadline_that_was_moved_away)
{
    GuestTimer timer;
    timer.set(100);
    EXPECT_FALSE(timer.due(300, 0, 101));
    EXPECT_EQ(timer.look(), 300u);
    EXPECT_TRUE(timer.due(300, 0, 305));
    EXPECT_EQ(timer.look(), 0u);
}

TEST(GuestTimer, that_was_stopped_is_not_looked_at_again)
{
    GuestTimer timer;
    timer.set(100);
    EXPECT_FALSE(timer.due(0, 4'000'000, 100));
    EXPECT_EQ(timer.look(), 0u);
    timer.set(200);
    timer.set(0);
    EXPECT_EQ(timer.look(), 0u) << "by hypercall";
}

TEST(GuestTimer, looks_again_by_itself_where_the_next_tick_will_be)
{
    constexpr std::uint64_t tick = 4'000'000;
    GuestTimer timer;
    timer.set(100);
    EXPECT_TRUE(timer.due(100, tick, 150));
    EXPECT_EQ(timer.look(), 100 + tick) << "after the deadline, not after the look";
    EXPECT_FALSE(timer.due(0, tick, 100 + tick)) << "the tick was stopped";
    EXPECT_EQ(timer.look(), 0u);
    timer.set(200);
    EXPECT_TRUE(timer.due(200, tick, 200 + 3 * tick));
    EXPECT_EQ(timer.look(), 200 + 4 * tick) << "ticks were missed";
}

TEST(GuestTimer, an_interval_that_is_no_tick_is_none)
{
    for (auto const interval : {std::uint64_t{1}, std::uint64_t{999'999}, std::uint64_t{1'000'000'001}, ~std::uint64_t{0}}) {
        GuestTimer timer;
        timer.set(100);
        EXPECT_TRUE(timer.due(100, interval, 100));
        EXPECT_EQ(timer.look(), 0u);
    }
}

}  // namespace
}  // namespace pvn
