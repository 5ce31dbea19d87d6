// SPDX-License-Identifier: MIT
#include "memory/frame_allocator.hpp"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace pvn {
namespace {

std::set<std::uint64_t> scrubbed;
void scrub(MachineFrame frame) { scrubbed.insert(frame.raw()); }

struct FrameAllocatorTest : testing::Test {
    FrameAllocatorTest()
    {
        scrubbed.clear();
        allocator.initialise(bits, scrub);
    }
    std::array<std::uint64_t, 4> bits{};
    FrameAllocator allocator;
};

TEST_F(FrameAllocatorTest, GivesEachFrameOnceFromTheTopScrubbed)
{
    allocator.add(MachineFrame{3}, 200);
    EXPECT_EQ(allocator.free_count(), 200u);
    std::set<std::uint64_t> seen;
    while (auto frame = allocator.allocate()) EXPECT_TRUE(seen.insert(frame->raw()).second);
    EXPECT_EQ(seen.size(), 200u);
    EXPECT_EQ(*seen.begin(), 3u);
    EXPECT_EQ(scrubbed, seen);
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

}  // namespace
}  // namespace pvn
