// SPDX-License-Identifier: MIT
// Frames that are granted: what may map them, what keeps them, and what does not.
#include <gtest/gtest.h>

#include "frames/testing/fake_memory.hpp"

namespace pvn::frames::testing {
namespace {

constexpr DomainId granter{1}, mapper{2};

struct Granted : ::testing::Test {
    Machine machine{8};
    FrameTable& table = machine.table;
    MachineFrame const page{0}, l1{1}, other{2};

    Granted()
    {
        table.assign(page, granter);
        table.assign(l1, mapper);
        table.assign(other, granter);
        EXPECT_TRUE(table.promote(mapper, l1, 1));
    }
    std::uint64_t entry(unsigned index) { return machine.memory.pages[l1.raw()][index]; }
    Result<void> map(unsigned index, std::uint64_t bits)
    {
        bool const to_write = (bits & 2) != 0;
        PVN_CHECK(table.take_granted(granter, page, to_write));
        return table.map_granted(mapper, l1, index, make_entry(page, bits));
    }
};

TEST_F(Granted, IsMappedByThatCallOnly)
{
    EXPECT_EQ(table.write_entry(mapper, l1, 0, make_entry(page, 1).raw, false).error(), Error::range);
    ASSERT_TRUE(map(3, 7));
    EXPECT_EQ(entry(3), make_entry(page, 7).raw);
    EXPECT_EQ(table.write_entry(mapper, l1, 4, make_entry(page, 7).raw, false).error(), Error::range);
    EXPECT_EQ(table.write_entry(mapper, l1, 3, make_entry(page, 5).raw, false).error(), Error::range);  // other references
    EXPECT_TRUE(table.write_entry(mapper, l1, 3, make_entry(page, 0x67).raw, false));                    // the same
}

TEST_F(Granted, KeepsItsFrameWhatItIs)
{
    ASSERT_TRUE(map(3, 7));
    EXPECT_EQ(table.promote(granter, page, 1).error(), Error::wrong_type);
    EXPECT_EQ(table.release(page, granter).error(), Error::busy);
    // The mapper gets rid of its entry: the grant is in use still.
    ASSERT_TRUE(table.write_entry(mapper, l1, 3, 0, false));
    EXPECT_EQ(table.promote(granter, page, 1).error(), Error::wrong_type);
    table.unmap_granted(mapper, l1, 3, page);
    table.drop_granted(page, true);
    EXPECT_TRUE(table.promote(granter, page, 1));
}

TEST_F(Granted, ReadOnlyLeavesTheTypeOpen)
{
    ASSERT_TRUE(map(3, 5));
    EXPECT_EQ(table.release(page, granter).error(), Error::busy);
    EXPECT_TRUE(table.promote(granter, page, 1));
    EXPECT_EQ(table.take_granted(granter, page, true).error(), Error::wrong_type);
    table.unmap_granted(mapper, l1, 3, page);
    EXPECT_EQ(entry(3), 0u);
    table.drop_granted(page, false);
    EXPECT_TRUE(table.demote(granter, page));
    EXPECT_TRUE(table.release(page, granter));
}

TEST_F(Granted, UnmapTakesOnlyItsOwnEntry)
{
    ASSERT_TRUE(map(3, 7));
    MachineFrame const own{4};
    table.assign(own, mapper);
    ASSERT_TRUE(table.write_entry(mapper, l1, 3, make_entry(own, 7).raw, false));
    table.unmap_granted(mapper, l1, 3, page);
    EXPECT_EQ(entry(3), make_entry(own, 7).raw);
    // The table is data now, and holds what looks like the entry.
    ASSERT_TRUE(table.write_entry(mapper, l1, 3, 0, false));
    ASSERT_TRUE(table.demote(mapper, l1));
    machine.memory.pages[l1.raw()][3] = make_entry(page, 7).raw;
    table.unmap_granted(mapper, l1, 3, page);
    EXPECT_EQ(entry(3), make_entry(page, 7).raw);
    EXPECT_EQ(table.promote(mapper, l1, 1).error(), Error::range);
    table.drop_granted(page, true);
    EXPECT_TRUE(table.release(page, granter));
}

TEST_F(Granted, Refuses)
{
    EXPECT_EQ(table.take_granted(mapper, page, false).error(), Error::range);
    EXPECT_EQ(table.take_granted(no_owner, page, false).error(), Error::invalid);
    EXPECT_EQ(table.take_granted(granter, MachineFrame{99}, false).error(), Error::range);
    ASSERT_TRUE(table.take_granted(granter, page, true));
    EXPECT_EQ(table.map_granted(mapper, page, 0, make_entry(page, 7)).error(), Error::range);
    EXPECT_EQ(table.map_granted(granter, other, 0, make_entry(page, 7)).error(), Error::wrong_type);
    EXPECT_EQ(table.map_granted(mapper, l1, 512, make_entry(page, 7)).error(), Error::invalid);
    EXPECT_EQ(table.map_granted(mapper, l1, 0, make_entry(page, 6)).error(), Error::invalid);
    ASSERT_TRUE(table.map_granted(mapper, l1, 0, make_entry(page, 7)));
    EXPECT_EQ(table.map_granted(mapper, l1, 0, make_entry(page, 7)).error(), Error::exists);
    table.unmap_granted(mapper, l1, 0, page);
    table.drop_granted(page, true);
}

TEST_F(Granted, CountsDoNotWrap)
{
    for (unsigned i = 0; i < 65535; ++i) ASSERT_TRUE(table.take_granted(granter, page, false));
    EXPECT_EQ(table.take_granted(granter, page, false).error(), Error::no_space);
    for (unsigned i = 0; i < 65535; ++i) ASSERT_TRUE(table.take_granted(granter, page, true));
    EXPECT_EQ(table.take_granted(granter, page, true).error(), Error::no_space);
    EXPECT_TRUE(machine.audit().list.empty()) << machine.audit().text();
    for (unsigned i = 0; i < 65535; ++i) table.drop_granted(page, true), table.drop_granted(page, false);
    EXPECT_TRUE(table.release(page, granter));
}

TEST_F(Granted, TheDeadGranterKeepsItUntilItIsGivenBack)
{
    ASSERT_TRUE(map(3, 7));
    ASSERT_EQ(table.tear_down(granter, 0, 100000).value(), table.size());
    EXPECT_EQ(table.owner(page), granter);
    EXPECT_EQ(table.owner(other), no_owner);
    table.unmap_granted(mapper, l1, 3, page);
    table.drop_granted(page, true);
    ASSERT_EQ(table.tear_down(granter, 0, 100000).value(), table.size());
    EXPECT_EQ(table.owner(page), no_owner);
}

}  // namespace
}  // namespace pvn::frames::testing
