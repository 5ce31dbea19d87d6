// SPDX-License-Identifier: MIT
// Promotion, demotion and changes of entries, rule by rule.
#include <gtest/gtest.h>

#include "frames/testing/fake_memory.hpp"

namespace pvn::frames::testing {
namespace {

constexpr std::uint64_t P = 1, RW = 2, US = 4, PCD = 16, A = 32, D = 64, PS = 128, PAT = 128, G = 256;
constexpr std::uint64_t NX = std::uint64_t{1} << 63;
constexpr DomainId dom0{0}, guest{1}, other{2};
// The guest's l1..l4 are frames of its own to be made tables of, page and second are data.
constexpr MachineFrame l1{1}, l2{2}, l3{3}, l4{4}, page{5}, second{6}, page_of_other{7}, l1_of_dom0{8}, hypervisors{9}, free_frame{10},
    device{11}, beyond{1000};

struct TablesTest : ::testing::Test {
    TablesTest()
    {
        for (auto f : {l1, l2, l3, l4, page, second})
            t.assign(f, guest);
        t.assign(page_of_other, other);
        t.assign(l1_of_dom0, dom0);
        t.assign(hypervisors, hypervisor_owner);
        t.mark_device(device);
    }
    void TearDown() override
    {
        EXPECT_EQ(m.audit().text(), "");
        EXPECT_EQ(m.audit(5).text(), "");
        EXPECT_EQ(m.memory.complaint, "");
    }
    std::uint64_t& at(MachineFrame f, unsigned index) { return m.memory.pages[f.raw()][index]; }
    static std::uint64_t entry(MachineFrame f, std::uint64_t bits) { return make_entry(f, bits).raw; }
    void promote_all()
    {
        ASSERT_TRUE(t.promote(guest, l1, 1));
        ASSERT_TRUE(t.promote(guest, l2, 2));
        ASSERT_TRUE(t.promote(guest, l3, 3));
        ASSERT_TRUE(t.promote(guest, l4, 4));
    }
    // Refused both at promotion and as a write, with nothing changed.
    void expect_refused(MachineFrame frame, unsigned level, unsigned index, std::uint64_t value, Error error)
    {
        SCOPED_TRACE(::testing::Message() << "level " << level << " index " << index << " value " << std::hex << value);
        at(frame, index) = value;
        EXPECT_EQ(t.promote(guest, frame, level).error(), error);
        EXPECT_EQ(t.type(frame), PageType::none);
        EXPECT_EQ(t.count(frame), 1U);
        at(frame, index) = 0;
        ASSERT_TRUE(t.promote(guest, frame, level));
        EXPECT_EQ(t.write_entry(guest, frame, index, value, false).error(), error);
        EXPECT_EQ(t.compare_exchange_entry(guest, frame, index, 0, value).error(), error);
        EXPECT_EQ(at(frame, index), 0U);
        EXPECT_EQ(t.count(frame), 2U);
        ASSERT_TRUE(t.demote(guest, frame));
    }
    void expect_accepted(MachineFrame frame, unsigned level, unsigned index, std::uint64_t value)
    {
        SCOPED_TRACE(::testing::Message() << "level " << level << " index " << index << " value " << std::hex << value);
        at(frame, index) = value;
        EXPECT_TRUE(t.promote(guest, frame, level));
        EXPECT_TRUE(t.demote(guest, frame));
        at(frame, index) = 0;
        ASSERT_TRUE(t.promote(guest, frame, level));
        EXPECT_TRUE(t.write_entry(guest, frame, index, value, false));
        EXPECT_EQ(at(frame, index), value);
        EXPECT_TRUE(t.write_entry(guest, frame, index, 0, false));
        ASSERT_TRUE(t.demote(guest, frame));
    }
    Machine m{12, 46};
    FrameTable& t = m.table;
};

TEST_F(TablesTest, promotion_takes_a_general_and_a_type_reference)
{
    ASSERT_TRUE(t.promote(guest, l1, 1));
    EXPECT_EQ(t.type(l1), PageType::l1);
    EXPECT_EQ(t.count(l1), 2U);
    EXPECT_EQ(t.type_count(l1), 1U);
    EXPECT_EQ(m.memory.flushes, 1U);
    EXPECT_EQ(t.release(l1, guest).error(), Error::busy);
    ASSERT_TRUE(t.demote(guest, l1));
    EXPECT_EQ(t.type(l1), PageType::none);
    EXPECT_EQ(t.count(l1), 1U);
}

TEST_F(TablesTest, arguments_are_checked)
{
    EXPECT_EQ(t.promote(guest, l1, 0).error(), Error::invalid);
    EXPECT_EQ(t.promote(guest, l1, 5).error(), Error::invalid);
    EXPECT_EQ(t.promote(hypervisor_owner, hypervisors, 1).error(), Error::invalid);
    EXPECT_EQ(t.promote(no_owner, free_frame, 1).error(), Error::invalid);
    EXPECT_EQ(t.promote(device_owner, device, 1).error(), Error::invalid);
    EXPECT_EQ(t.promote(other, l1, 1).error(), Error::range);
    EXPECT_EQ(t.promote(dom0, l1, 1).error(), Error::range);
    EXPECT_EQ(t.promote(guest, beyond, 1).error(), Error::range);
    EXPECT_EQ(t.demote(guest, l1).error(), Error::wrong_type);
    EXPECT_EQ(t.write_entry(guest, l1, 0, 0, false).error(), Error::wrong_type);
    ASSERT_TRUE(t.promote(guest, l1, 1));
    EXPECT_EQ(t.promote(guest, l1, 1).error(), Error::exists);
    EXPECT_EQ(t.promote(guest, l1, 2).error(), Error::wrong_type);
    EXPECT_EQ(t.demote(other, l1).error(), Error::range);
    EXPECT_EQ(t.write_entry(guest, l1, 512, 0, false).error(), Error::invalid);
    EXPECT_EQ(t.write_entry(other, l1, 0, 0, false).error(), Error::range);
    EXPECT_EQ(t.compare_exchange_entry(guest, l1, 512, 0, 0).error(), Error::invalid);
}

TEST_F(TablesTest, leaves_count_what_they_map)
{
    at(l1, 0) = entry(page, P | RW | US | NX);
    at(l1, 511) = entry(second, P);
    ASSERT_TRUE(t.promote(guest, l1, 1));
    EXPECT_EQ(t.type(page), PageType::writable);
    EXPECT_EQ(t.type_count(page), 1U);
    EXPECT_EQ(t.count(page), 2U);
    EXPECT_EQ(t.type(second), PageType::none);
    EXPECT_EQ(t.count(second), 2U);
    EXPECT_EQ(t.release(second, guest).error(), Error::busy);
    ASSERT_TRUE(t.demote(guest, l1));
    EXPECT_EQ(t.type(page), PageType::none);
    EXPECT_EQ(t.count(page), 1U);
    EXPECT_EQ(t.count(second), 1U);
}

TEST_F(TablesTest, no_frame_is_a_table_and_writable)
{
    promote_all();
    for (auto table : {l1, l2, l3, l4}) {
        EXPECT_EQ(t.write_entry(guest, l1, 7, entry(table, P | RW), false).error(), Error::wrong_type);
        EXPECT_EQ(t.compare_exchange_entry(guest, l1, 7, 0, entry(table, P | RW)).error(), Error::wrong_type);
        EXPECT_TRUE(t.write_entry(guest, l1, 7, entry(table, P), false));
        EXPECT_EQ(t.write_entry(guest, l1, 7, entry(table, P | RW), false).error(), Error::wrong_type);  // the change of one flag
        EXPECT_TRUE(t.write_entry(guest, l1, 7, 0, false));
    }
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(page, P | RW), false));
    EXPECT_EQ(t.promote(guest, page, 1).error(), Error::wrong_type);
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(page, P), false));
    EXPECT_TRUE(t.promote(guest, page, 1));
}

TEST_F(TablesTest, table_that_maps_itself)
{
    at(l1, 3) = entry(l1, P | RW);
    EXPECT_EQ(t.promote(guest, l1, 1).error(), Error::wrong_type);
    at(l1, 3) = entry(l1, P);
    ASSERT_TRUE(t.promote(guest, l1, 1));
    EXPECT_TRUE(t.demote(guest, l1));
    for (unsigned level = 2; level <= 4; ++level)
        expect_refused(l2, level, 3, entry(l2, P), Error::wrong_type);
}

TEST_F(TablesTest, children_are_promoted_tables_of_the_level_below)
{
    for (unsigned level = 2; level <= 4; ++level)
        expect_refused(l4, level, 0, entry(page, P | RW), Error::wrong_type);
    ASSERT_TRUE(t.promote(guest, l1, 1));
    expect_refused(l4, 4, 0, entry(l1, P), Error::wrong_type);
    expect_refused(l3, 3, 0, entry(l1, P), Error::wrong_type);
    expect_accepted(l2, 2, 0, entry(l1, P | RW | US | A | NX));
    t.assign(free_frame, dom0);
    ASSERT_TRUE(t.promote(dom0, l1_of_dom0, 1));
    expect_refused(l2, 2, 0, entry(l1_of_dom0, P), Error::range);
    expect_refused(l2, 2, 0, entry(beyond, P), Error::range);
    expect_refused(l2, 2, 0, entry(device, P), Error::range);
    // Privilege maps foreign pages, not foreign tables, nor devices as tables.
    ASSERT_TRUE(t.promote(dom0, free_frame, 2));
    EXPECT_EQ(t.write_entry(dom0, free_frame, 0, entry(l1, P), false).error(), Error::range);
    EXPECT_EQ(t.write_entry(dom0, free_frame, 0, entry(beyond, P), false).error(), Error::range);
}

TEST_F(TablesTest, named_table_cannot_be_demoted)
{
    promote_all();
    ASSERT_TRUE(t.write_entry(guest, l2, 0, entry(l1, P), false));
    ASSERT_TRUE(t.write_entry(guest, l2, 1, entry(l1, P), false));
    EXPECT_EQ(t.type_count(l1), 3U);
    EXPECT_EQ(t.demote(guest, l1).error(), Error::busy);
    ASSERT_TRUE(t.write_entry(guest, l2, 0, 0, false));
    EXPECT_EQ(t.demote(guest, l1).error(), Error::busy);
    ASSERT_TRUE(t.write_entry(guest, l2, 1, 0, false));
    EXPECT_TRUE(t.demote(guest, l1));
}

TEST_F(TablesTest, forbidden_bits)
{
    expect_refused(l1, 1, 0, entry(page, P) | (std::uint64_t{1} << 46), Error::invalid);
    expect_refused(l1, 1, 0, entry(page, P) | (std::uint64_t{1} << 51), Error::invalid);
    expect_accepted(l1, 1, 0, entry(page, P | RW | US | A | D | G | NX | 0xe00) | (std::uint64_t{0x7f} << 52) | (std::uint64_t{0xf} << 59));
    expect_accepted(l1, 1, 0, entry(page, P | PAT | PCD | 8));
    ASSERT_TRUE(t.promote(guest, l1, 1));
    ASSERT_TRUE(t.promote(guest, l2, 2));
    ASSERT_TRUE(t.promote(guest, l3, 3));
    struct { MachineFrame table; unsigned level; MachineFrame child; } const cases[] = {{second, 2, l1}, {second, 3, l2}, {second, 4, l3}};
    for (auto const& c : cases) {
        expect_accepted(c.table, c.level, 9, entry(c.child, P | RW | US | A | D | NX | 0xe00) | (std::uint64_t{0x7f} << 52));
        for (auto bit : {3U, 4U, 7U, 8U, 46U, 51U, 59U, 62U})
            expect_refused(c.table, c.level, 9, entry(c.child, P) | (std::uint64_t{1} << bit), Error::invalid);
    }
}

TEST_F(TablesTest, forbidden_bits_do_not_pass_as_a_change_of_flags)
{
    promote_all();
    ASSERT_TRUE(t.write_entry(guest, l2, 0, entry(l1, P), false));
    EXPECT_EQ(t.write_entry(guest, l2, 0, entry(l1, P | RW | PS), false).error(), Error::invalid);
    EXPECT_EQ(t.write_entry(guest, l2, 0, entry(l1, P | RW | PS), true).error(), Error::invalid);
    EXPECT_EQ(t.compare_exchange_entry(guest, l2, 0, entry(l1, P), entry(l1, P | PS)).error(), Error::invalid);
    EXPECT_EQ(at(l2, 0), entry(l1, P));
}

TEST_F(TablesTest, slot_is_the_hypervisors)
{
    ASSERT_TRUE(t.promote(guest, l3, 3));
    expect_refused(l4, 4, 256, entry(l3, P | RW), Error::invalid);
    ASSERT_TRUE(t.promote(guest, l4, 4));
    EXPECT_EQ(t.write_entry(guest, l4, 256, 0, false).error(), Error::invalid);  // not even to nothing
    EXPECT_EQ(t.compare_exchange_entry(guest, l4, 256, 7, 0).error(), Error::invalid);
    EXPECT_TRUE(t.write_entry(guest, l4, 255, entry(l3, P), false));
    EXPECT_TRUE(t.write_entry(guest, l4, 257, entry(l3, P), false));
    EXPECT_TRUE(t.write_entry(guest, l3, 256, 0, false));
}

TEST_F(TablesTest, entries_that_are_not_present_hold_anything)
{
    ASSERT_TRUE(t.promote(guest, l1, 1));
    expect_accepted(l4, 4, 256 + 1, ~P);
    expect_accepted(l2, 2, 0, ~P);
    EXPECT_TRUE(t.write_entry(guest, l1, 0, ~P, false));
    EXPECT_TRUE(t.write_entry(guest, l1, 1, entry(page_of_other, RW), false));
    EXPECT_EQ(t.count(page_of_other), 1U);
}

TEST_F(TablesTest, strangers_map_nothing)
{
    expect_refused(l1, 1, 0, entry(page_of_other, P), Error::range);
    expect_refused(l1, 1, 0, entry(page_of_other, P | RW), Error::range);
    expect_refused(l1, 1, 0, entry(hypervisors, P), Error::range);
    expect_refused(l1, 1, 0, entry(free_frame, P), Error::range);
    expect_refused(l1, 1, 0, entry(device, P), Error::range);
    expect_refused(l1, 1, 0, entry(beyond, P), Error::range);
    EXPECT_EQ(t.count(page_of_other), 1U);
}

TEST_F(TablesTest, privileged_maps_foreign_frames_counted_and_devices_uncounted)
{
    ASSERT_TRUE(t.promote(dom0, l1_of_dom0, 1));
    ASSERT_TRUE(t.write_entry(dom0, l1_of_dom0, 0, entry(page_of_other, P | RW), false));
    EXPECT_EQ(t.type(page_of_other), PageType::writable);
    EXPECT_EQ(t.promote(other, page_of_other, 1).error(), Error::wrong_type);
    EXPECT_EQ(t.release(page_of_other, other).error(), Error::busy);
    ASSERT_TRUE(t.promote(guest, l1, 1));
    EXPECT_EQ(t.write_entry(dom0, l1_of_dom0, 1, entry(l1, P | RW), false).error(), Error::wrong_type);
    EXPECT_TRUE(t.write_entry(dom0, l1_of_dom0, 1, entry(l1, P), false));
    EXPECT_TRUE(t.write_entry(dom0, l1_of_dom0, 2, entry(device, P | RW | PCD), false));
    EXPECT_TRUE(t.write_entry(dom0, l1_of_dom0, 3, entry(beyond, P | RW | PCD), false));
    EXPECT_TRUE(t.write_entry(dom0, l1_of_dom0, 2, entry(device, P | RW), false));
    EXPECT_EQ(t.count(device), 0U);
    EXPECT_EQ(t.write_entry(dom0, l1_of_dom0, 4, entry(hypervisors, P), false).error(), Error::range);
    EXPECT_EQ(t.write_entry(dom0, l1_of_dom0, 4, entry(free_frame, P), false).error(), Error::range);
    EXPECT_EQ(m.audit().text(), "");
    EXPECT_TRUE(t.demote(dom0, l1_of_dom0));
    EXPECT_TRUE(t.release(page_of_other, other));
}

TEST_F(TablesTest, failed_promotion_gives_all_references_back)
{
    at(l1, 0) = entry(page, P | RW);
    at(l1, 1) = entry(second, P);
    at(l1, 2) = entry(page_of_other, P);
    auto const before = m.memory.pages;
    EXPECT_EQ(t.promote(guest, l1, 1).error(), Error::range);
    for (auto f : {l1, page, second}) {
        EXPECT_EQ(t.count(f), 1U);
        EXPECT_EQ(t.type_count(f), 0U);
        EXPECT_EQ(t.type(f), PageType::none);
    }
    EXPECT_EQ(m.memory.pages, before);
}

TEST_F(TablesTest, full_counts_refuse_entries)
{
    ASSERT_TRUE(t.promote(guest, l1, 1));
    m.frames[page.raw()].count = 0xffff'ffff;
    EXPECT_EQ(t.write_entry(guest, l1, 0, entry(page, P), false).error(), Error::no_space);
    EXPECT_EQ(t.write_entry(guest, l1, 0, entry(page, P | RW), false).error(), Error::no_space);
    m.frames[page.raw()].count = 1;
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(page, P | RW), false));
    m.frames[page.raw()].type_count = 0xffff'ffff;
    EXPECT_EQ(t.write_entry(guest, l1, 1, entry(page, P | RW), false).error(), Error::no_space);
    EXPECT_EQ(t.count(page), 2U);
    m.frames[page.raw()].type_count = 1;
}

TEST_F(TablesTest, change_of_flags_leaves_counts_alone)
{
    ASSERT_TRUE(t.promote(guest, l1, 1));
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(page, P | RW), false));
    m.frames[page.raw()].count = 0xffff'ffff;  // any attempt to take one would fail
    EXPECT_TRUE(t.write_entry(guest, l1, 0, entry(page, P | RW | US | A | NX), false));
    m.frames[page.raw()].count = 2;
}

TEST_F(TablesTest, last_reference_moves_between_entries)
{
    ASSERT_TRUE(t.promote(guest, l1, 1));
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(page, P | RW), false));
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(second, P | RW), false));
    EXPECT_EQ(t.count(page), 1U);
    EXPECT_EQ(t.type(page), PageType::none);
    EXPECT_EQ(t.type(second), PageType::writable);
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(second, P), false));
    EXPECT_EQ(t.type(second), PageType::none);
    EXPECT_EQ(t.count(second), 2U);
    EXPECT_EQ(t.write_entry(guest, l1, 0, entry(page_of_other, P), false).error(), Error::range);
    EXPECT_EQ(at(l1, 0), entry(second, P));
}

TEST_F(TablesTest, accessed_and_dirty_are_kept_on_request)
{
    ASSERT_TRUE(t.promote(guest, l1, 1));
    at(l1, 0) = 0;
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(page, P | RW), false));
    at(l1, 0) |= A | D;  // the CPU
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(page, P), true));
    EXPECT_EQ(at(l1, 0), entry(page, P | A | D));
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(page, P), false));
    EXPECT_EQ(at(l1, 0), entry(page, P));
    at(l1, 0) |= A;
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(second, P), true));  // another page: says nothing of it
    EXPECT_EQ(at(l1, 0), entry(second, P));
    at(l1, 0) |= A;
    ASSERT_TRUE(t.write_entry(guest, l1, 0, 0x1000, true));  // a swap entry stays what it is
    EXPECT_EQ(at(l1, 0), 0x1000U);
    ASSERT_TRUE(t.write_entry(guest, l1, 0, A | D, false));
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(page, P), true));
    EXPECT_EQ(at(l1, 0), entry(page, P));
}

TEST_F(TablesTest, compare_exchange_tells_what_it_saw)
{
    ASSERT_TRUE(t.promote(guest, l1, 1));
    EXPECT_EQ(*t.compare_exchange_entry(guest, l1, 0, 0, entry(page, P | RW)), 0U);
    EXPECT_EQ(at(l1, 0), entry(page, P | RW));
    EXPECT_EQ(t.type(page), PageType::writable);
    EXPECT_EQ(*t.compare_exchange_entry(guest, l1, 0, 0, entry(page_of_other, P)), entry(page, P | RW));
    EXPECT_EQ(*t.compare_exchange_entry(guest, l1, 0, entry(page, P | RW), entry(page, P)), entry(page, P | RW));
    EXPECT_EQ(t.type(page), PageType::none);
    EXPECT_EQ(*t.compare_exchange_entry(guest, l1, 0, entry(page, P), entry(page, P | A)), entry(page, P));
    EXPECT_EQ(*t.compare_exchange_entry(guest, l1, 0, entry(page, P | A), 0), entry(page, P | A));
    EXPECT_EQ(t.count(page), 1U);
}

TEST_F(TablesTest, live_root_update_reaches_its_copies)
{
    promote_all();
    ASSERT_TRUE(t.take_root(guest, l4));
    ASSERT_TRUE(t.write_entry(guest, l4, 5, entry(l3, P | RW), false));
    ASSERT_TRUE(t.compare_exchange_entry(guest, l4, 5, entry(l3, P | RW), entry(l3, P)));
    at(l4, 5) |= A;
    ASSERT_TRUE(t.write_entry(guest, l4, 5, entry(l3, P | RW), true));
    EXPECT_FALSE(t.write_entry(guest, l4, 5, entry(page, P), true));
    ASSERT_TRUE(t.write_entry(guest, l3, 5, entry(l2, P), false));
    std::vector<FakeMemory::RootChange> const expected{
        {l4, 5, entry(l3, P | RW)}, {l4, 5, entry(l3, P)}, {l4, 5, entry(l3, P | RW | A)}};
    EXPECT_EQ(m.memory.root_changes, expected);
    t.drop_root(l4);
}

TEST_F(TablesTest, former_table_is_flushed_before_it_is_writable)
{
    ASSERT_TRUE(t.promote(guest, l1, 1));
    ASSERT_TRUE(t.promote(guest, l2, 2));
    ASSERT_TRUE(t.demote(guest, l2));
    EXPECT_EQ(m.memory.walk_flushes, 0U);
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(l2, P), false));
    EXPECT_EQ(m.memory.walk_flushes, 0U);
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(l2, P | RW), false));
    EXPECT_EQ(m.memory.walk_flushes, 1U);
    ASSERT_TRUE(t.write_entry(guest, l1, 1, entry(l2, P | RW), false));
    EXPECT_EQ(m.memory.walk_flushes, 1U);
}

TEST_F(TablesTest, weakly_cached_frame_is_written_back_before_it_is_a_table_or_free)
{
    ASSERT_TRUE(t.promote(guest, l1, 1));
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(page, P | RW), false));
    ASSERT_TRUE(t.write_entry(guest, l1, 0, entry(page, P | RW | PCD), false));  // by the fast path
    ASSERT_TRUE(t.write_entry(guest, l1, 0, 0, false));
    EXPECT_TRUE(m.memory.written_back.empty());
    ASSERT_TRUE(t.promote(guest, page, 1));
    EXPECT_EQ(m.memory.written_back.size(), 1U);
    ASSERT_TRUE(t.demote(guest, page));
    ASSERT_TRUE(t.release(page, guest));
    EXPECT_EQ(m.memory.written_back.size(), 2U);
}

}  // namespace
}  // namespace pvn::frames::testing
