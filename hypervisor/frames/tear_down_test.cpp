// SPDX-License-Identifier: MIT
// The end of a domain gives everything back, in small pieces; and the audit sees what is wrong.
#include <gtest/gtest.h>

#include "frames/testing/fake_memory.hpp"

namespace pvn::frames::testing {
namespace {

constexpr DomainId dom0{0}, guest{1};

// Tables in an order in which children come before, and after, their parents.
struct TearDownTest : ::testing::Test {
    TearDownTest()
    {
        for (auto f : {l3, l1, page, l4, l2, second})
            t.assign(f, guest);
        t.assign(l1_of_dom0, dom0);
        EXPECT_TRUE(t.promote(guest, l1, 1));
        EXPECT_TRUE(t.promote(guest, l2, 2));
        EXPECT_TRUE(t.promote(guest, l3, 3));
        EXPECT_TRUE(t.promote(guest, l4, 4));
        EXPECT_TRUE(t.promote(dom0, l1_of_dom0, 1));
        EXPECT_TRUE(t.write_entry(guest, l4, 0, make_entry(l3, 3).raw, false));
        EXPECT_TRUE(t.write_entry(guest, l3, 0, make_entry(l2, 3).raw, false));
        EXPECT_TRUE(t.write_entry(guest, l2, 0, make_entry(l1, 3).raw, false));
        EXPECT_TRUE(t.write_entry(guest, l1, 0, make_entry(page, 3).raw, false));
        EXPECT_TRUE(t.write_entry(guest, l1, 1, make_entry(l1, 1).raw, false));
        EXPECT_TRUE(t.write_entry(guest, l1, 2, make_entry(second, 1).raw, false));
    }
    unsigned tear_down(std::uint64_t budget)
    {
        unsigned calls = 0;
        for (std::uint64_t next = 0; next < t.size(); ++calls) {
            auto const before = next;
            next = t.tear_down(guest, next, budget).value();
            EXPECT_GT(next, before);
            EXPECT_EQ(m.audit().text(), "");
        }
        return calls;
    }
    unsigned left() const
    {
        unsigned n = 0;
        for (std::uint64_t i = 0; i < t.size(); ++i)
            n += t.owner(MachineFrame{i}) == guest;
        return n;
    }
    static constexpr MachineFrame l3{0}, l1{1}, page{2}, l4{3}, l2{4}, second{5}, l1_of_dom0{6};
    Machine m{8};
    FrameTable& t = m.table;
};

TEST_F(TearDownTest, frees_everything_in_one_pass)
{
    EXPECT_GT(tear_down(1), 4U);
    EXPECT_EQ(left(), 0U);
    EXPECT_EQ(m.memory.freed.size(), 6U);
    EXPECT_EQ(t.owner(l1_of_dom0), dom0);
}

TEST_F(TearDownTest, in_one_call)
{
    EXPECT_EQ(tear_down(1000000), 1U);
    EXPECT_EQ(left(), 0U);
}

TEST_F(TearDownTest, leaves_what_others_map_until_they_stop)
{
    ASSERT_TRUE(t.write_entry(dom0, l1_of_dom0, 0, make_entry(page, 3).raw, false));
    ASSERT_TRUE(t.write_entry(dom0, l1_of_dom0, 1, make_entry(l2, 1).raw, false));
    tear_down(1);
    EXPECT_EQ(left(), 2U);
    tear_down(1);
    EXPECT_EQ(left(), 2U);
    ASSERT_TRUE(t.demote(dom0, l1_of_dom0));
    tear_down(1);
    EXPECT_EQ(left(), 0U);
}

TEST_F(TearDownTest, leaves_holds_and_the_root_in_use)
{
    ASSERT_TRUE(t.take_root(guest, l4));
    ASSERT_TRUE(t.take_writable(guest, page));
    tear_down(1);
    EXPECT_TRUE(Entry{m.memory.pages[l4.raw()][0]}.present());
    EXPECT_EQ(left(), 3U);  // l4, l3 that it names, page
    t.drop_root(l4);
    t.drop_writable(page);
    tear_down(1);
    EXPECT_EQ(left(), 0U);
}

TEST_F(TearDownTest, refuses_bad_arguments)
{
    EXPECT_EQ(t.tear_down(hypervisor_owner, 0, 1).error(), Error::invalid);
    EXPECT_EQ(t.tear_down(no_owner, 0, 1).error(), Error::invalid);
    EXPECT_EQ(t.tear_down(guest, 0, 0).error(), Error::invalid);
    EXPECT_EQ(t.tear_down(guest, ~std::uint64_t{0}, 1).value(), t.size());
}

using AuditTest = TearDownTest;
using Kind = Discrepancy::Kind;

TEST_F(AuditTest, sees_each_kind_of_damage)
{
    auto finds = [&](Kind kind) {
        for (std::size_t window : {1U, 3U, 64U}) {
            auto const log = m.audit(window);
            bool found = false;
            for (auto const& d : log.list)
                found = found || d.kind == kind;
            if (!found)
                return false;
        }
        return true;
    };
    auto damage = [&](auto& place, auto value, Kind kind) {
        auto const saved = place;
        place = static_cast<std::remove_reference_t<decltype(place)>>(value);
        EXPECT_TRUE(finds(kind)) << static_cast<int>(kind);
        place = saved;
        EXPECT_EQ(m.audit(1).text(), "");
    };
    auto& pages = m.memory.pages;
    damage(m.frames[page.raw()].count, 3, Kind::count);
    damage(m.frames[page.raw()].type_count, 2, Kind::type_count);
    damage(m.frames[page.raw()].type, PageType::none, Kind::type);
    damage(m.frames[page.raw()].type, PageType::l1, Kind::writable_table);
    damage(m.frames[l1.raw()].flags, 0, Kind::type);
    damage(pages[l1.raw()][9], make_entry(page, 3).raw, Kind::count);
    damage(pages[l1.raw()][9], make_entry(l2, 3).raw, Kind::writable_table);
    damage(pages[l1.raw()][9], make_entry(l1_of_dom0, 1).raw, Kind::stranger);
    damage(pages[l1.raw()][9], make_entry(MachineFrame{99}, 1).raw, Kind::stranger);
    damage(pages[l1.raw()][9], make_entry(MachineFrame{7}, 1).raw, Kind::stranger);
    damage(pages[l2.raw()][9], make_entry(page, 1).raw, Kind::wrong_child);
    damage(pages[l2.raw()][0], make_entry(l1, 0x83).raw, Kind::forbidden_entry);
    damage(pages[l4.raw()][256], make_entry(l3, 3).raw, Kind::forbidden_entry);
    damage(pages[l4.raw()][0], 0, Kind::count);
}

}  // namespace
}  // namespace pvn::frames::testing
