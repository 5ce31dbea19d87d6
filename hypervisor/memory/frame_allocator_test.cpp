// SPDX-License-Identifier: MIT
#include "memory/frame_allocator.hpp"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace pvn {
namespace {

struct FrameAllocatorTest : testing::Test {
    FrameAllocatorTest() { allocator.initialise(free_bits, cleared_bits); }
    // What an idle CPU does, at most `count` times.
    int clear(int count)
    {
        int done = 0;
        for (; done < count && allocator.lend(1).members != 0; ++done) allocator.take_back(~std::uint64_t{0});
        return done;
    }
    std::array<std::uint64_t, 4> free_bits{}, cleared_bits{};
    FrameAllocator allocator;
};

TEST_F(FrameAllocatorTest, GivesEachFrameOnceFromTheTop)
{
    allocator.add(MachineFrame{3}, 200);
    EXPECT_EQ(allocator.free_count(), 200u);
    std::uint64_t expected = 203;
    while (auto taken = allocator.allocate()) {
        EXPECT_EQ(taken->first.raw(), --expected);
        EXPECT_FALSE(taken->cleared);
    }
    EXPECT_EQ(expected, 3u);
    EXPECT_EQ(allocator.free_count(), 0u);
}

TEST_F(FrameAllocatorTest, FreeingTwiceCountsOnce)
{
    allocator.free(MachineFrame{7});
    allocator.free(MachineFrame{7});
    allocator.free(MachineFrame{4096});  // beyond the machine
    EXPECT_EQ(allocator.free_count(), 1u);
}

TEST_F(FrameAllocatorTest, RunsAreConsecutive)
{
    allocator.add(MachineFrame{0}, 10);
    allocator.add(MachineFrame{20}, 30);
    auto const run = allocator.allocate_run(25);
    ASSERT_TRUE(run);
    EXPECT_GE(run->first.raw(), 20u);
    EXPECT_FALSE(allocator.allocate_run(11));
    EXPECT_TRUE(allocator.allocate_run(10));
    EXPECT_EQ(allocator.free_count(), 5u);
}

TEST_F(FrameAllocatorTest, TakesTheFrameAskedFor)
{
    allocator.add(MachineFrame{0}, 10);
    EXPECT_TRUE(allocator.take(MachineFrame{4}));
    EXPECT_FALSE(allocator.take(MachineFrame{4}));
    EXPECT_FALSE(allocator.take(MachineFrame{11}));
    allocator.free(MachineFrame{4});
    EXPECT_TRUE(allocator.is_free(MachineFrame{4}));
}

TEST_F(FrameAllocatorTest, GivesWhatIsClearedFirst)
{
    allocator.add(MachineFrame{100}, 4);
    EXPECT_EQ(clear(1), 1);
    allocator.free(MachineFrame{200});
    auto const first = allocator.allocate(), second = allocator.allocate();
    EXPECT_EQ(first->first, MachineFrame{103});
    EXPECT_TRUE(first->cleared);
    EXPECT_EQ(second->first, MachineFrame{200});  // none is cleared: the highest
    EXPECT_FALSE(second->cleared);
}

TEST_F(FrameAllocatorTest, LendsEachFrameThatNeedsItOnce)
{
    EXPECT_EQ(clear(1), 0);
    allocator.add(MachineFrame{0}, 70);
    EXPECT_EQ(clear(100), 70);
    EXPECT_EQ(allocator.free_count(), 70u);
    for (int i = 0; i < 70; ++i) EXPECT_TRUE(allocator.allocate()->cleared);
}

TEST_F(FrameAllocatorTest, AFrameThatWasInUseIsClearedNoMore)
{
    allocator.add(MachineFrame{64}, 1);
    EXPECT_EQ(clear(1), 1);
    EXPECT_TRUE(allocator.take(MachineFrame{64})->cleared);
    allocator.free(MachineFrame{64});
    EXPECT_FALSE(allocator.allocate()->cleared);
}

TEST_F(FrameAllocatorTest, WhatIsLentIsFreeAndNobodyGetsIt)
{
    allocator.add(MachineFrame{10}, 2);
    EXPECT_TRUE(allocator.lend(1).has(MachineFrame{11}));
    EXPECT_EQ(allocator.lend(1).members, 0u);  // once at a time
    EXPECT_TRUE(allocator.lends());
    EXPECT_TRUE(allocator.is_free(MachineFrame{11}));
    EXPECT_EQ(allocator.free_count(), 2u);
    EXPECT_FALSE(allocator.take(MachineFrame{11}));
    EXPECT_FALSE(allocator.allocate_run(2));
    EXPECT_EQ(allocator.allocate()->first, MachineFrame{10});
    EXPECT_FALSE(allocator.allocate());
    allocator.free(MachineFrame{11});  // it is free already
    allocator.take_back(std::uint64_t{1} << 11);
    EXPECT_FALSE(allocator.lends());
    EXPECT_EQ(allocator.free_count(), 1u);
    EXPECT_TRUE(allocator.allocate()->cleared);
}

TEST_F(FrameAllocatorTest, WhatComesBackUnclearedIsLentAgain)
{
    allocator.add(MachineFrame{126}, 4);
    EXPECT_EQ(allocator.lend(8).members, 3u);  // of one word of 64
    allocator.take_back(2);
    EXPECT_EQ(allocator.free_count(), 4u);
    EXPECT_EQ(allocator.allocate()->first, MachineFrame{129});
    EXPECT_EQ(allocator.lend(8).members, 1u);
    allocator.take_back(1);
    EXPECT_EQ(allocator.lend(1).members, std::uint64_t{1} << 63);
    EXPECT_EQ(allocator.lend(1).count(), 0u);
    allocator.take_back(0);
    EXPECT_EQ(clear(8), 2);
    EXPECT_EQ(allocator.free_count(), 3u);
}

TEST_F(FrameAllocatorTest, ARunIsClearedIfAllOfItIs)
{
    allocator.add(MachineFrame{60}, 8);
    EXPECT_EQ(clear(3), 3);
    EXPECT_FALSE(allocator.allocate_run(8)->cleared);
    allocator.add(MachineFrame{60}, 8);
    EXPECT_EQ(clear(8), 8);
    EXPECT_TRUE(allocator.allocate_run(8)->cleared);
    EXPECT_EQ(allocator.free_count(), 0u);
}

}  // namespace
}  // namespace pvn
