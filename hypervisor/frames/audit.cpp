// SPDX-License-Identifier: MIT
// The audit shares no code with tables.cpp but the layout of an entry: a mistake there should not hide itself here.
#include "frames/audit.hpp"

#include <algorithm>
#include <atomic>

#include "frames/require.hpp"

namespace pvn::frames {

namespace {

class Auditor {
public:
    Auditor(FrameTable const& table, std::span<Tally> scratch, AuditReport& report)
        : table_{table}, scratch_{scratch}, report_{report}
    {
    }

    std::uint64_t run()
    {
        for (std::uint64_t first = 0; first < table_.size(); first += scratch_.size()) {
            first_ = first;
            end_ = first + std::min<std::uint64_t>(scratch_.size(), table_.size() - first);
            std::ranges::fill(scratch_, Tally{});
            for (std::uint64_t i = 0; i < table_.size(); ++i)
                scan(MachineFrame{i});
            for (std::uint64_t i = first_; i < end_; ++i)
                compare(MachineFrame{i});
        }
        return found_;
    }

private:
    void scan(MachineFrame table)
    {
        auto const level = level_of(table_.type(table));
        if (level == 0)
            return;
        auto* const entries = table_.memory().table(table);
        for (unsigned i = 0; i < entries_per_table; ++i) {
            Entry const entry{std::atomic_ref{entries[i]}.load(std::memory_order_relaxed)};
            if (entry.present())
                look_at(table, level, i, entry);
        }
    }

    // Each entry is reported in the window of its target; targets outside the table belong to the first.
    void look_at(MachineFrame table, unsigned level, unsigned index, Entry entry)
    {
        auto const target = entry.frame();
        bool const inside = table_.contains(target);
        if (inside ? target.raw() < first_ || target.raw() >= end_ : first_ != 0)
            return;
        auto const owner = table_.owner(table);
        auto report = [&](Discrepancy::Kind kind) { found({kind, target, table, index, 0, entry.raw}); };

        if (!entry_allowed(level, index, table_.physical_bits(), entry))
            report(Discrepancy::Kind::forbidden_entry);
        bool const counted = inside && table_.owner(target) != device_owner;
        if (level > 1) {
            if (!counted || table_.owner(target) != owner || table_.type(target) != table_type(level - 1))
                report(Discrepancy::Kind::wrong_child);
        } else {
            if (!may_map(owner, target, counted))
                report(Discrepancy::Kind::stranger);
            if (counted && entry.writable() && table_.type(target) != PageType::writable && table_.type(target) != PageType::shared)
                report(Discrepancy::Kind::writable_table);
        }
        if (!counted)
            return;
        auto& tally = scratch_[target.raw() - first_];
        ++tally.general;
        if (level > 1 || entry.writable())
            ++tally.typed;
    }

    bool may_map(DomainId mapper, MachineFrame target, bool counted) const
    {
        auto const owner = table_.owner(target);
        if (counted && owner == hypervisor_owner)
            return table_.type(target) == PageType::shared && table_.frame(target).guest() == mapper;
        if (counted && owner == no_owner)
            return false;
        return owner == mapper || table_.memory().may_map_foreign(mapper, target) || table_.memory().has_granted(mapper, target);
    }

    void compare(MachineFrame frame)
    {
        auto const& f = table_.frame(frame);
        auto const& tally = scratch_[frame.raw() - first_];
        bool const counted = f.owner() != no_owner && f.owner() != device_owner;
        std::uint64_t const own = (f.has(Frame::promoted) ? 1U : 0U) + std::uint64_t{f.held};
        auto const count = (counted ? 1U : 0U) + own + f.readers() + tally.general;
        auto const type_count = own + tally.typed;
        if (f.count != count)
            found({Discrepancy::Kind::count, frame, frame, 0, count, f.count});
        if (f.type_count != type_count)
            found({Discrepancy::Kind::type_count, frame, frame, 0, type_count, f.type_count});
        bool const type_fits = (f.type == PageType::none) == (f.type_count == 0) && is_table(f.type) == f.has(Frame::promoted) &&
                               (counted || (f.type == PageType::none && f.flags == 0)) &&
                               (f.type != PageType::shared || f.owner() == hypervisor_owner) &&
                               (!is_table(f.type) || is_domain(f.owner()));
        if (!type_fits)
            found({Discrepancy::Kind::type, frame, frame, 0, 0, static_cast<std::uint64_t>(f.type)});
    }

    void found(Discrepancy const& discrepancy)
    {
        ++found_;
        report_.found(discrepancy);
    }

    FrameTable const& table_;
    std::span<Tally> scratch_;
    AuditReport& report_;
    std::uint64_t first_ = 0;
    std::uint64_t end_ = 0;
    std::uint64_t found_ = 0;
};

}  // namespace

std::uint64_t audit(FrameTable const& table, std::span<Tally> scratch, AuditReport& report)
{
    require(!scratch.empty());
    return Auditor{table, scratch, report}.run();
}

}  // namespace pvn::frames
