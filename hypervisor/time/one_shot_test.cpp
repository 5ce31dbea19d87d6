// SPDX-License-Identifier: MIT
#include "time/one_shot.hpp"

#include <gtest/gtest.h>

namespace pvn {
namespace {

constexpr auto never = ~std::uint64_t{0};

TEST(OneShot, is_programmed_for_the_first_deadline_and_for_an_earlier_one)
{
    OneShot timer{};
    EXPECT_FALSE(timer.comes_by(0));
    EXPECT_FALSE(timer.comes_by(100));
    timer.programmed(100);
    EXPECT_TRUE(timer.comes_by(100));
    EXPECT_FALSE(timer.comes_by(99));
}

TEST(OneShot, may_come_too_early)
{
    OneShot timer{};
    timer.programmed(100);
    EXPECT_TRUE(timer.comes_by(101));
    EXPECT_TRUE(timer.comes_by(never));
}

TEST(OneShot, is_programmed_anew_once_it_has_come)
{
    OneShot timer{};
    timer.programmed(100);
    timer.came();
    EXPECT_FALSE(timer.comes_by(101));
    EXPECT_FALSE(timer.comes_by(never));
}

}  // namespace
}  // namespace pvn
