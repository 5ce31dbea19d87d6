// SPDX-License-Identifier: MIT
// Ownership, holds and sharing.
#include <gtest/gtest.h>

#include "frames/testing/fake_memory.hpp"

namespace pvn::frames::testing {
namespace {

constexpr DomainId dom0{0}, guest{1}, other{2};
constexpr MachineFrame f0{0}, f1{1}, f2{2};

struct FrameTableTest : ::testing::Test {
    FrameTableTest()
    {
        t.assign(f0, guest);
        t.assign(f1, guest);
    }
    void TearDown() override
    {
        EXPECT_EQ(m.audit().text(), "");
        EXPECT_EQ(m.memory.complaint, "");
    }
    Machine m{8};
    FrameTable& t = m.table;
};

TEST_F(FrameTableTest, zeroed_frames_are_free)
{
    EXPECT_EQ(t.owner(f2), no_owner);
    EXPECT_EQ(t.type(f2), PageType::none);
    EXPECT_EQ(t.count(f2), 0U);
    EXPECT_EQ(t.owner(MachineFrame{1000}), no_owner);
}

TEST_F(FrameTableTest, release_frees_only_the_owners_unreferenced_frame)
{
    EXPECT_EQ(t.release(f0, other).error(), Error::range);
    EXPECT_EQ(t.release(f2, guest).error(), Error::range);
    EXPECT_EQ(t.release(f2, no_owner).error(), Error::invalid);
    EXPECT_EQ(t.release(MachineFrame{8}, guest).error(), Error::range);
    ASSERT_TRUE(t.take_writable(guest, f0));
    EXPECT_EQ(t.release(f0, guest).error(), Error::busy);
    t.drop_writable(f0);
    EXPECT_TRUE(t.release(f0, guest));
    EXPECT_EQ(t.owner(f0), no_owner);
    t.assign(f0, other);
    EXPECT_EQ(t.owner(f0), other);
}

TEST_F(FrameTableTest, writable_hold_excludes_promotion_and_the_reverse)
{
    ASSERT_TRUE(t.take_writable(guest, f0));
    ASSERT_TRUE(t.take_writable(guest, f0));
    EXPECT_EQ(t.type_count(f0), 2U);
    EXPECT_EQ(t.promote(guest, f0, 1).error(), Error::wrong_type);
    t.drop_writable(f0);
    EXPECT_EQ(t.promote(guest, f0, 1).error(), Error::wrong_type);
    t.drop_writable(f0);
    ASSERT_TRUE(t.promote(guest, f0, 1));
    EXPECT_EQ(t.take_writable(guest, f0).error(), Error::wrong_type);
    EXPECT_EQ(t.take_writable(other, f1).error(), Error::range);
    EXPECT_EQ(t.take_writable(hypervisor_owner, f1).error(), Error::invalid);
}

TEST_F(FrameTableTest, root_must_be_a_level_4_table_and_then_cannot_be_demoted)
{
    EXPECT_EQ(t.take_root(guest, f0).error(), Error::wrong_type);
    ASSERT_TRUE(t.promote(guest, f1, 3));
    EXPECT_EQ(t.take_root(guest, f1).error(), Error::wrong_type);
    ASSERT_TRUE(t.promote(guest, f0, 4));
    EXPECT_EQ(t.take_root(other, f0).error(), Error::range);
    ASSERT_TRUE(t.take_root(guest, f0));
    ASSERT_TRUE(t.take_root(guest, f0));
    EXPECT_EQ(t.demote(guest, f0).error(), Error::busy);
    t.drop_root(f0);
    EXPECT_EQ(t.demote(guest, f0).error(), Error::busy);
    t.drop_root(f0);
    EXPECT_TRUE(t.demote(guest, f0));
}

TEST_F(FrameTableTest, shared_frame_is_mapped_by_its_guest_only)
{
    t.assign(f2, hypervisor_owner);
    MachineFrame const l1{3}, l1_of_other{4}, l1_of_dom0{5};
    t.assign(l1, guest);
    t.assign(l1_of_other, other);
    t.assign(l1_of_dom0, dom0);
    ASSERT_TRUE(t.promote(guest, l1, 1));
    ASSERT_TRUE(t.promote(other, l1_of_other, 1));
    ASSERT_TRUE(t.promote(dom0, l1_of_dom0, 1));
    auto const entry = make_entry(f2, 3).raw;
    EXPECT_EQ(t.write_entry(guest, l1, 0, entry, false).error(), Error::range);
    EXPECT_EQ(t.write_entry(dom0, l1_of_dom0, 0, entry, false).error(), Error::range);  // privilege does not help
    EXPECT_EQ(t.share(f0, guest).error(), Error::range);
    EXPECT_EQ(t.share(f2, no_owner).error(), Error::invalid);
    EXPECT_EQ(t.unshare(f2).error(), Error::wrong_type);
    ASSERT_TRUE(t.share(f2, guest));
    EXPECT_EQ(t.share(f2, other).error(), Error::wrong_type);
    EXPECT_EQ(t.write_entry(other, l1_of_other, 0, entry, false).error(), Error::range);
    EXPECT_EQ(t.write_entry(dom0, l1_of_dom0, 0, entry, false).error(), Error::range);
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry, false));
    EXPECT_EQ(t.unshare(f2).error(), Error::busy);
    EXPECT_EQ(t.release(f2, hypervisor_owner).error(), Error::busy);
    ASSERT_TRUE(t.write_entry(guest, l1, 0, make_entry(f2, 1).raw, false));
    EXPECT_EQ(t.unshare(f2).error(), Error::busy);
    ASSERT_TRUE(t.write_entry(guest, l1, 0, 0, false));
    EXPECT_TRUE(t.unshare(f2));
    EXPECT_TRUE(t.release(f2, hypervisor_owner));
}

TEST_F(FrameTableTest, full_counts_are_an_error)
{
    m.frames[0].held = 0xffff;
    EXPECT_EQ(t.take_writable(guest, f0).error(), Error::no_space);
    m.frames[0].held = 0;
    m.frames[0].count = 0xffff'ffff;
    EXPECT_EQ(t.take_writable(guest, f0).error(), Error::no_space);
    EXPECT_EQ(t.promote(guest, f0, 1).error(), Error::no_space);
    m.frames[0].count = 1;
    ASSERT_TRUE(t.take_writable(guest, f0));
    m.frames[0].type_count = 0xffff'ffff;
    EXPECT_EQ(t.take_writable(guest, f0).error(), Error::no_space);
    EXPECT_EQ(t.count(f0), 2U);
    m.frames[0].type_count = 1;
}

using FrameTableDeathTest = FrameTableTest;

TEST_F(FrameTableDeathTest, our_own_mistakes_end_it)
{
    EXPECT_DEATH(t.assign(f0, other), "");
    EXPECT_DEATH(t.assign(f2, no_owner), "");
    EXPECT_DEATH(t.mark_device(f0), "");
    EXPECT_DEATH(t.drop_root(f0), "");
    EXPECT_DEATH(t.drop_writable(f0), "");
}

}  // namespace
}  // namespace pvn::frames::testing
