// SPDX-License-Identifier: MIT
// Random sequences of operations: what must always hold, holds after every one.
#include <gtest/gtest.h>

#include <cstdio>
#include <random>
#include <vector>

#include "frames/testing/driver.hpp"

namespace pvn::frames::testing {
namespace {

class RandomOperations : public ::testing::TestWithParam<unsigned> {};

TEST_P(RandomOperations, keep_every_rule)
{
    constexpr std::size_t steps = 6000;
    std::mt19937 random{GetParam()};
    std::vector<std::uint8_t> bytes(steps * Driver::step_bytes);
    for (auto& byte : bytes)
        byte = static_cast<std::uint8_t>(random());
    Driver driver;
    auto const broken = driver.run(bytes);
    EXPECT_FALSE(broken) << "seed " << GetParam() << ", " << *broken;
    // The sequence must reach deep states, or it shows nothing.
    auto const& s = driver.statistics();
    EXPECT_GT(s.promoted, 20U);
    EXPECT_GT(s.leaves, 1000U);
    EXPECT_GT(s.parents, 100U);
    EXPECT_GT(s.refused, 100U);
    EXPECT_GT(s.torn_down, 2U);
    if (HasFailure())
        std::printf("done %lu refused %lu promoted %lu leaves %lu parents %lu torn down %lu\n", s.done, s.refused, s.promoted, s.leaves,
                    s.parents, s.torn_down);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomOperations, ::testing::Range(1U, 9U));

}  // namespace
}  // namespace pvn::frames::testing
