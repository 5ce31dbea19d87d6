// SPDX-License-Identifier: MIT
// Page tables: promote, demote, and every change of an entry.
#include <algorithm>
#include <array>
#include <atomic>

#include "frames/frame_table.hpp"
#include "frames/require.hpp"

namespace pvn::frames {

using LiveEntry = std::atomic_ref<std::uint64_t>;
static_assert(LiveEntry::is_always_lock_free);

namespace {

// Do both entries need the same references?  Writable counts in leaves only: what a mapping can do is over-estimated from its
// leaf, whatever the levels above allow.
bool same_references(unsigned level, Entry a, Entry b)
{
    return a.present() && b.present() && a.frame() == b.frame() && (level > 1 || a.writable() == b.writable());
}

// Accessed and dirty bits say something about a page, so they stay with the page.  In an entry that is not present these bits
// are the guest's (swap entries): neither taken from there nor put there.
std::uint64_t with_accessed_dirty(unsigned level, Entry old, Entry next)
{
    if (!old.present() || !next.present() || old.frame() != next.frame())
        return next.raw;
    auto const kept = level == 1 ? Entry::accessed | Entry::dirty : Entry::accessed;
    return next.raw | (old.raw & kept);
}

}  // namespace

// Takes what an entry that the rules allow needs: nothing if it is not present.
[[gnu::always_inline]] inline Result<void> FrameTable::take_entry(DomainId domain, unsigned level, Entry entry)
{
    if (!entry.present())
        return {};
    return level > 1 ? take_child(domain, level, entry.frame()) : take_page(domain, entry);
}

// The child is a promoted table of the same domain, one level below.  Hence no recursive tables: a table is of one level.
Result<void> FrameTable::take_child(DomainId domain, unsigned level, MachineFrame child)
{
    PVN_CHECK(check_owned(domain, child));
    if (at(child).type != table_type(level - 1))
        return Fail{Error::wrong_type};
    return take_both(child, table_type(level - 1));
}

// A page of one's own is the rule.
[[gnu::always_inline]] inline Result<void> FrameTable::take_page(DomainId domain, Entry entry)
{
    auto const page = entry.frame();
    return contains(page) && at(page).owner() == domain ? take_mapping(entry, PageType::writable) : take_others_page(domain, entry);
}

[[gnu::noinline]] Result<void> FrameTable::take_others_page(DomainId domain, Entry entry)
{
    auto const page = entry.frame();
    // Device memory has no counts: nobody frees it or makes a table of it.
    if (!contains(page) || at(page).owner() == device_owner) {
        if (!memory_.may_map_foreign(domain, page))
            return Fail{Error::range};
        return {};
    }
    auto const& f = at(page);
    auto const owner = f.owner();
    if (owner == hypervisor_owner) {
        if (f.type != PageType::shared || f.guest() != domain)
            return Fail{Error::range};
        return take_mapping(entry, PageType::shared);
    }
    if (owner == no_owner || !memory_.may_map_foreign(domain, page))
        return Fail{Error::range};
    return take_mapping(entry, PageType::writable);
}

[[gnu::always_inline]] Result<void> FrameTable::take_mapping(Entry entry, PageType type)
{
    PVN_CHECK(entry.writable() ? take_both(entry.frame(), type) : take_general(at(entry.frame())));
    remember_cacheability(1, entry);
    return {};
}

Result<void> FrameTable::promote(DomainId domain, MachineFrame frame, unsigned level)
{
    if (!is_domain(domain) || level < 1 || level > top_level)
        return Fail{Error::invalid};
    PVN_CHECK(check_owned(domain, frame));
    auto& f = at(frame);
    if (f.type == table_type(level))
        return Fail{Error::exists};
    if (f.type != PageType::none)
        return Fail{Error::wrong_type};

    // 1. From here no new writable mapping can appear.
    PVN_CHECK(take_both(frame, table_type(level)));
    // 2. From here no old one is left in a TLB.  Looking first and flushing afterwards is the race of XSA-401.
    memory_.flush_stale_writable(frame);
    if (f.has(Frame::weakly_cached))
        memory_.write_back(frame);  // or we would check other contents than the walk reads.  It may be mapped so still: flag stays
    // 3. So the contents stay what they are while we look at them.
    auto* const entries = memory_.table(frame);
    for (unsigned i = 0; i < entries_per_table; ++i) {
        Entry const entry{LiveEntry{entries[i]}.load(std::memory_order_relaxed)};
        auto taken = rules_.allow(level, i, entry) ? take_entry(domain, level, entry) : Fail{Error::invalid};
        if (taken)
            continue;
        while (i-- > 0)
            drop_entry(level, Entry{LiveEntry{entries[i]}.load(std::memory_order_relaxed)});
        drop_both(frame);
        return taken;
    }
    f.set(Frame::promoted);
    return {};
}

Result<void> FrameTable::demote(DomainId domain, MachineFrame frame)
{
    if (!is_domain(domain))
        return Fail{Error::invalid};
    PVN_CHECK(check_owned(domain, frame));
    auto& f = at(frame);
    if (!is_table(f.type))
        return Fail{Error::wrong_type};
    if (f.type_count != 1)
        return Fail{Error::busy};

    auto const level = level_of(f.type);
    auto* const entries = memory_.table(frame);
    for (unsigned i = 0; i < entries_per_table; ++i)
        drop_entry(level, Entry{LiveEntry{entries[i]}.load(std::memory_order_relaxed)});
    end_promotion(frame);
    return {};
}

// Its entries hold no references any more.
void FrameTable::end_promotion(MachineFrame frame)
{
    auto& f = at(frame);
    f.clear(Frame::promoted | Frame::emptied);
    f.set(Frame::was_table);
    if (f.type == table_type(top_level))
        memory_.root_retired(frame);
    drop_both(frame);
}

Result<FrameTable::Place> FrameTable::find_place(DomainId domain, MachineFrame table, unsigned index) const
{
    if (!is_domain(domain) || index >= entries_per_table)
        return Fail{Error::invalid};
    PVN_CHECK(check_owned(domain, table));
    auto const level = level_of(at(table).type);
    if (level == 0)
        return Fail{Error::wrong_type};
    // Not even an entry that is not present: root_entry_changed() would put it where the slot is.
    if (level == top_level && index == PVN_SLOT_INDEX)
        return Fail{Error::invalid};
    return Place{table, level, index, memory_.table(table) + index};
}

// Takes what the new value needs and stores it.  What the old one had is the caller's to drop: the entry returned, present or not.
[[gnu::always_inline]] inline Result<Entry> FrameTable::exchange_entry(DomainId domain, Place const& place, std::uint64_t value, bool keep_accessed_dirty)
{
    Entry const next{value};
    // Before the fast path: no bit gets in by looking like a change of flags (XSA-148).
    if (!rules_.allow(place.level, place.index, next))
        return Fail{Error::invalid};

    LiveEntry live{*place.address};
    Entry old{live.load(std::memory_order_relaxed)};
    bool const same = same_references(place.level, old, next);
    if (same)
        remember_cacheability(place.level, next);
    else
        PVN_CHECK(take_entry(domain, place.level, next));

    // Under the lock only CPUs change the entry meanwhile, and only its accessed and dirty bits: its references are those of
    // the value first read.
    std::uint64_t stored = value;
    if (keep_accessed_dirty) {
        do
            stored = with_accessed_dirty(place.level, old, next);
        while (!live.compare_exchange_weak(old.raw, stored));
    } else {
        old.raw = live.exchange(value);
    }
    // Before the old reference goes: a root that still carries the old entry must not outlive it.
    if (place.level == top_level)
        memory_.root_entry_changed(place.table, place.index, stored);
    return same ? Entry{0} : old;
}

Result<void> FrameTable::write_entry(DomainId domain, MachineFrame table, unsigned index, std::uint64_t value,
                                     bool keep_accessed_dirty)
{
    auto const place = PVN_TRY(find_place(domain, table, index));
    auto const old = PVN_TRY(exchange_entry(domain, place, value, keep_accessed_dirty));
    at(table).clear(Frame::emptied);
    if (old.present()) {
        memory_.entry_dropped(domain);
        drop_entry(place.level, old);
    }
    return {};
}

[[gnu::always_inline]] inline FrameTable::Written FrameTable::write_from(DomainId domain, Place place, std::span<std::uint64_t const> values,
                                                                         bool keep_accessed_dirty)
{
    Written written{0, {}};
    while (written.count < values.size() && written.result) {
        // All that lose what they name do so before anybody is told, and that is before any of it can be somebody else's.
        std::array<Entry, 16> old;
        std::size_t dropped = 0;
        auto const end = std::min(written.count + old.size(), values.size());
        for (; written.count < end; ++written.count, ++place.index, ++place.address) {
            auto const one = place.level == top_level && place.index == PVN_SLOT_INDEX
                                 ? Fail{Error::invalid}
                                 : exchange_entry(domain, place, values[written.count], keep_accessed_dirty);
            if (!one) {
                written.result = Fail{one.error()};
                break;
            }
            if (one->present())
                old[dropped++] = *one;
        }
        if (dropped != 0)
            memory_.entry_dropped(domain);
        for (auto const& entry : std::span{old}.first(dropped))
            drop_entry(place.level, entry);
    }
    if (written.count != 0)
        at(place.table).clear(Frame::emptied);
    return written;
}

FrameTable::Written FrameTable::write_entries(DomainId domain, MachineFrame table, unsigned first,
                                              std::span<std::uint64_t const> values, bool keep_accessed_dirty)
{
    auto place = find_place(domain, table, first);
    if (!place)
        return {0, Fail{place.error()}};
    if (values.size() > entries_per_table - first)
        return {0, Fail{Error::invalid}};
    if (place->level != 1)
        return write_from(domain, *place, values, keep_accessed_dirty);
    place->level = 1;  // for the compiler: a loop of its own, without what other levels need
    return write_from(domain, *place, values, keep_accessed_dirty);
}

Result<std::uint64_t> FrameTable::compare_exchange_entry(DomainId domain, MachineFrame table, unsigned index,
                                                         std::uint64_t expected, std::uint64_t value)
{
    auto const place = PVN_TRY(find_place(domain, table, index));
    LiveEntry live{*place.address};
    if (auto const seen = live.load(std::memory_order_relaxed); seen != expected)
        return seen;

    Entry const next{value};
    Entry const old{expected};
    if (!rules_.allow(place.level, index, next))
        return Fail{Error::invalid};
    bool const same = same_references(place.level, old, next);
    if (same)
        remember_cacheability(place.level, next);
    else
        PVN_CHECK(take_entry(domain, place.level, next));

    if (auto seen = expected; !live.compare_exchange_strong(seen, value)) {  // a CPU set accessed or dirty in between
        if (!same)
            drop_entry(place.level, next);
        return seen;
    }
    at(table).clear(Frame::emptied);
    if (place.level == top_level)
        memory_.root_entry_changed(table, index, value);
    if (!same) {
        if (old.present())
            memory_.entry_dropped(domain);
        drop_entry(place.level, old);
    }
    return expected;
}

void FrameTable::drop_entry(unsigned level, Entry entry)
{
    auto const frame = entry.frame();
    if (!entry.present() || !contains(frame) || at(frame).owner() == device_owner)
        return;
    if (level > 1 || entry.writable())
        drop_both(frame);
    else
        drop_general(at(frame));
}

void FrameTable::remember_cacheability(unsigned level, Entry entry)
{
    if (level == 1 && entry.weakly_cached() && contains(entry.frame()) && at(entry.frame()).owner() != device_owner)
        at(entry.frame()).set(Frame::weakly_cached);
}

}  // namespace pvn::frames
