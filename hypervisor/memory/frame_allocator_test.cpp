// SPDX-License-Identifier: MIT
#include "memory/frame_allocator.hpp"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace pvn {
namespace {

std::set<std::uint64_t> cleared;
void clear(MachineFrame frame) { EXPECT_TRUE(cleared.insert(frame.raw()).second) << "cleared twice"; }

struct FrameAllocatorTest : testing::Test {
    FrameAllocatorTest()
    {
        cleared.clear();
        allocator.initialise(free_bits, cleared_bits, clear);
    }
    std::array<std::uint64_t, 4> free_bits{}, cleared_bits{};
    FrameAllocator allocator;
};

TEST_F(FrameAllocatorTest, GivesEachFrameOnceFromTheTopCleared)
{
    allocator.add(MachineFrame{3}, 200);
    EXPECT_EQ(allocator.free_count(), 200u);
    std::set<std::uint64_t> seen;
    while (auto frame = allocator.allocate()) EXPECT_TRUE(seen.insert(frame->raw()).second);
    EXPECT_EQ(seen.size(), 200u);
    EXPECT_EQ(*seen.begin(), 3u);
    EXPECT_EQ(cleared, seen);
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
    EXPECT_GE(run->raw(), 20u);
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

TEST_F(FrameAllocatorTest, WhatWasClearedBeforehandIsGivenFirstAndNotClearedAgain)
{
    allocator.add(MachineFrame{100}, 4);
    EXPECT_TRUE(allocator.clear_one());
    allocator.free(MachineFrame{200});
    EXPECT_EQ(cleared, std::set<std::uint64_t>{103});
    EXPECT_EQ(allocator.allocate(), MachineFrame{103});
    EXPECT_EQ(allocator.allocate(), MachineFrame{200});  // none is cleared: the highest
    EXPECT_EQ(cleared, (std::set<std::uint64_t>{103, 200}));
}

TEST_F(FrameAllocatorTest, ClearsEachFreeFrameOnceUntilNoneIsLeft)
{
    EXPECT_FALSE(allocator.clear_one());
    allocator.add(MachineFrame{0}, 70);
    for (int i = 0; i < 70; ++i) EXPECT_TRUE(allocator.clear_one());
    EXPECT_FALSE(allocator.clear_one());
    EXPECT_EQ(cleared.size(), 70u);
    EXPECT_EQ(allocator.free_count(), 70u);
}

TEST_F(FrameAllocatorTest, AFrameThatWasInUseNeedsClearingAgain)
{
    allocator.add(MachineFrame{64}, 1);
    EXPECT_TRUE(allocator.clear_one());
    EXPECT_TRUE(allocator.take(MachineFrame{64}));
    cleared.clear();
    allocator.free(MachineFrame{64});
    EXPECT_EQ(allocator.allocate(), MachineFrame{64});
    EXPECT_EQ(cleared, std::set<std::uint64_t>{64});
}

TEST_F(FrameAllocatorTest, TakingToKeepTheContentsClearsNothing)
{
    allocator.add(MachineFrame{0}, 2);
    EXPECT_TRUE(allocator.take(MachineFrame{0}, FrameAllocator::Contents::keep));
    EXPECT_TRUE(cleared.empty());
    EXPECT_TRUE(allocator.clear_one());
    EXPECT_FALSE(allocator.clear_one());  // it is no longer free
}

TEST_F(FrameAllocatorTest, ARunMayBeClearedInPart)
{
    allocator.add(MachineFrame{60}, 8);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(allocator.clear_one());
    EXPECT_EQ(allocator.allocate_run(8), MachineFrame{60});
    EXPECT_EQ(cleared.size(), 8u);
    allocator.add(MachineFrame{60}, 8);
    cleared.clear();
    while (allocator.clear_one()) {}
    EXPECT_EQ(cleared.size(), 8u);
}

}  // namespace
}  // namespace pvn
