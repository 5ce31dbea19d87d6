// SPDX-License-Identifier: MIT
// What the frame table has to answer, worked out anew from the contents of all tables for each question: without counts, types or references.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "frames/testing/fake_memory.hpp"

namespace pvn::frames::testing {

// Lives beside a frame table: it is told what became of promotions and demotions, and asks the table only who owns a frame, what the
// hypervisor holds of it and, for frames of the hypervisor, to whom it is shown.
class Oracle {
public:
    Oracle(FrameTable const& table, FakeMemory const& memory, unsigned physical_bits) : table_{table}, memory_{memory}, physical_bits_{physical_bits} {}

    // The error; nothing: it must succeed.
    std::optional<Error> promote(DomainId domain, MachineFrame frame, unsigned level) const
    {
        if (!is_domain(domain) || level < 1 || level > 4) return Error::invalid;
        if (owner(frame) != domain) return Error::range;
        if (level_of(frame) == level) return Error::exists;
        if (level_of(frame) != 0 || written_to(frame)) return Error::wrong_type;
        for (unsigned i = 0; i < entries_per_table; ++i)
            if (auto const wrong = entry(domain, level, i, Entry{memory_.pages[frame.raw()][i]}, frame)) return wrong;
        return {};
    }

    std::optional<Error> demote(DomainId domain, MachineFrame frame) const
    {
        if (!is_domain(domain)) return Error::invalid;
        if (owner(frame) != domain) return Error::range;
        if (level_of(frame) == 0) return Error::wrong_type;
        bool named = table_.held(frame) != 0;
        each_entry([&](unsigned level, Entry e) { named = named || (level > 1 && e.frame() == frame); });
        return named ? std::optional{Error::busy} : std::nullopt;
    }

    std::optional<Error> write(DomainId domain, MachineFrame frame, unsigned index, std::uint64_t value) const
    {
        if (!is_domain(domain) || index >= entries_per_table) return Error::invalid;
        if (owner(frame) != domain) return Error::range;
        auto const level = level_of(frame);
        if (level == 0) return Error::wrong_type;
        if (level == 4 && index == PVN_SLOT_INDEX) return Error::invalid;
        Entry const next{value}, old{memory_.pages[frame.raw()][index]};
        if (next.present() && forbidden(level, next)) return Error::invalid;
        // What it names already it may go on naming: its owner may have come to an end meanwhile.
        if (next.present() && old.present() && next.frame() == old.frame() && (level > 1 || next.writable() == old.writable())) return {};
        return entry(domain, level, index, next, {});
    }

    void promoted(MachineFrame frame, unsigned level) { levels_[frame.raw()] = level; }
    void demoted(MachineFrame frame) { levels_.erase(frame.raw()); }
    // Tables whose owner is gone come apart when it suits the table.
    void torn_down()
    {
        std::erase_if(levels_, [&](auto const& known) { return !is_table(table_.type(MachineFrame{known.first})); });
    }

private:
    DomainId owner(MachineFrame frame) const { return table_.owner(frame); }
    unsigned level_of(MachineFrame frame) const
    {
        auto const known = levels_.find(frame.raw());
        return known != levels_.end() ? known->second : 0;
    }

    template <class Visit>
    void each_entry(Visit visit) const
    {
        for (auto const& [frame, level] : levels_)
            for (auto const raw : memory_.pages[frame])
                if (Entry const e{raw}; e.present()) visit(level, e);
    }

    bool written_to(MachineFrame frame) const
    {
        bool found = table_.held(frame) != 0;
        each_entry([&](unsigned level, Entry e) { found = found || (level == 1 && e.writable() && e.frame() == frame); });
        return found;
    }

    // [sdm/3] 4.5, written down a second time: reserved address bits; above level 1 also PS, G, PCD, PWT and protection keys.
    bool forbidden(unsigned level, Entry e) const
    {
        constexpr std::uint64_t upper_levels = 1 << 3 | 1 << 4 | 1 << 7 | 1 << 8 | std::uint64_t{0xf} << 59;
        return (e.frame().raw() >> (physical_bits_ - 12)) != 0 || (level > 1 && (e.raw & upper_levels) != 0);
    }

    // What a table of `level` may not hold.  `self`: the frame that is becoming a table.
    std::optional<Error> entry(DomainId domain, unsigned level, unsigned index, Entry e, std::optional<MachineFrame> self) const
    {
        if (!e.present()) return {};
        if ((level == 4 && index == PVN_SLOT_INDEX) || forbidden(level, e)) return Error::invalid;
        auto const target = e.frame();
        if (level > 1) {
            if (owner(target) != domain) return Error::range;
            return level_of(target) == level - 1 ? std::nullopt : std::optional{Error::wrong_type};
        }
        bool const foreign = domain == memory_.privileged;
        if (!table_.contains(target) || owner(target) == device_owner) return foreign ? std::nullopt : std::optional{Error::range};
        if (owner(target) == hypervisor_owner)
            return table_.held(target) != 0 && table_.frame(target).guest() == domain ? std::nullopt : std::optional{Error::range};
        if (owner(target) != domain && (owner(target) == no_owner || !foreign)) return Error::range;
        return e.writable() && (level_of(target) != 0 || target == self) ? std::optional{Error::wrong_type} : std::nullopt;
    }

    FrameTable const& table_;
    FakeMemory const& memory_;
    unsigned physical_bits_;
    std::map<std::uint64_t, unsigned> levels_;
};

}  // namespace pvn::frames::testing
