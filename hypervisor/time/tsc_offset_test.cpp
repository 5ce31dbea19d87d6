// SPDX-License-Identifier: MIT
#include "time/tsc_offset.hpp"

#include <gtest/gtest.h>

#include <random>

namespace pvn::clock {
namespace {

// Two CPUs whose counters differ by `offset` and, from the start, by `drift` ticks a round; messages take 50 to 2000 ticks.
TscOffset measure(std::uint64_t start, std::int64_t offset, std::int64_t drift = 0, unsigned rounds = 32)
{
    std::mt19937_64 random{7};
    TscOffset estimate;
    for (unsigned round = 0; round < rounds; ++round) {
        auto const there = 50 + random() % 1950, back = 50 + random() % 1950;
        auto const other = start + there + static_cast<std::uint64_t>(offset + drift * round);
        estimate.add(start, other, start + there + back);
        start += there + back;
    }
    return estimate;
}

TEST(TscOffset, HoldsTheOffsetAndNarrowsIt)
{
    for (std::int64_t const offset : {0L, 1L, -1L, 12345L, -12345L, 1L << 40, -(1L << 40)}) {
        auto const estimate = measure(1000000, offset);
        EXPECT_TRUE(estimate.is_constant());
        EXPECT_LE(estimate.least(), offset);
        EXPECT_GE(estimate.most(), offset);
        EXPECT_LT(estimate.most() - estimate.least(), 600) << "32 rounds of up to 2000 ticks each way";
    }
}

TEST(TscOffset, ZeroIsPossibleOnlyWhereNoReadingContradicts)
{
    EXPECT_TRUE(measure(1000000, 0).may_be_zero());
    EXPECT_FALSE(measure(1000000, 700).may_be_zero());
    EXPECT_FALSE(measure(1000000, -700).may_be_zero());
}

TEST(TscOffset, ReadingsAtTheSameTickAgree)
{
    TscOffset estimate;
    estimate.add(5, 5, 5);
    EXPECT_TRUE(estimate.may_be_zero());
    EXPECT_EQ(estimate.least(), 0);
    EXPECT_EQ(estimate.most(), 0);
}

TEST(TscOffset, CountersThatWrapAreNoLeap)
{
    auto const estimate = measure(~std::uint64_t{0} - 20000, 0);
    EXPECT_TRUE(estimate.may_be_zero());
    EXPECT_FALSE(measure(~std::uint64_t{0} - 20000, 5000).may_be_zero());
}

TEST(TscOffset, DifferentSpeedsAreSeen) { EXPECT_FALSE(measure(1000000, 0, 300).is_constant()); }

}  // namespace
}  // namespace pvn::clock
