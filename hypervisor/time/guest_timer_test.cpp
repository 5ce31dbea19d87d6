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
    EXPECT_TRUE(timer.due(100, 100));
    EXPECT_EQ(timer.look(), 0u) << "once";
}

TEST(GuestTimer, looks_again_at_a_deadline_that_was_moved_away)
{
    GuestTimer timer;
    timer.set(100);
    EXPECT_FALSE(timer.due(300, 101));
    EXPECT_EQ(timer.look(), 300u);
    EXPECT_TRUE(timer.due(300, 305));
    EXPECT_EQ(timer.look(), 0u);
}

TEST(GuestTimer, that_was_stopped_is_not_looked_at_again)
{
    GuestTimer timer;
    timer.set(100);
    EXPECT_FALSE(timer.due(0, 100));
    EXPECT_EQ(timer.look(), 0u);
    timer.set(200);
    timer.set(0);
    EXPECT_EQ(timer.look(), 0u) << "by hypercall";
}

}  // namespace
}  // namespace pvn
