// SPDX-License-Identifier: MIT
// The audit shares no code with tables.cpp but the layout of an entry: a mistake there should not hide itself here.
#include "frames/audit.hpp"

#include <algorithm>
#include <atomic>

#include "frames/require.hpp"

namespace pvn::frames {

Audit::Audit(FrameTable const& table, std::span<Tally> scratch, AuditReport& report) : table_{table}, scratch_{scratch}, report_{report}
{
    require(!scratch.empty());
    start(Phase::clear);
}

void Audit::start(Phase phase)
{
    phase_ = phase;
    if (phase == Phase::clear) end_ = first_ + std::min<std::uint64_t>(scratch_.size(), table_.size() - first_);
    next_ = phase == Phase::count ? 0 : first_;
    last_ = phase == Phase::count ? table_.size() : end_;
}

bool Audit::step(std::uint64_t budget)
{
    for (;;) {
        for (; next_ < last_; ++next_) {
            if (budget == 0) return false;
            --budget;
            MachineFrame const frame{next_};
            switch (phase_) {
            case Phase::clear: scratch_[frame.raw() - first_] = {}; break;
            case Phase::count:
                if (auto const level = level_of(table_.type(frame)); level != 0) {
                    count(frame, level);
                    budget -= std::min<std::uint64_t>(budget, entries_per_table);
                }
                break;
            case Phase::compare: compare(frame); break;
            }
        }
        switch (phase_) {
        case Phase::clear: start(Phase::count); break;
        case Phase::count: start(Phase::compare); break;
        case Phase::compare:
            if (end_ == table_.size()) return true;
            first_ = end_;
            start(Phase::clear);
            break;
        }
    }
}

void Audit::count(MachineFrame table, unsigned level)
{
    auto* const entries = table_.memory().table(table);
    for (unsigned i = 0; i < entries_per_table; ++i) {
        Entry const entry{std::atomic_ref{entries[i]}.load(std::memory_order_relaxed)};
        if (entry.present())
            look_at(table, level, i, entry);
    }
}

// Each entry is reported in the window of its target; targets outside the table belong to the first.
void Audit::look_at(MachineFrame table, unsigned level, unsigned index, Entry entry)
{
    auto const target = entry.frame();
    bool const inside = table_.contains(target);
    if (inside ? target.raw() < first_ || target.raw() >= end_ : first_ != 0)
        return;
    auto const owner = table_.owner(table);
    auto report = [&](Discrepancy::Kind kind) { found({kind, target, table, index, 0, entry.raw}); };

    if (!table_.rules().allow(level, index, entry))
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

bool Audit::may_map(DomainId mapper, MachineFrame target, bool counted) const
{
    auto const owner = table_.owner(target);
    if (counted && owner == hypervisor_owner)
        return table_.type(target) == PageType::shared && table_.frame(target).guest() == mapper;
    if (counted && owner == no_owner)
        return false;
    return owner == mapper || table_.memory().may_map_foreign(mapper, target) || table_.memory().has_granted(mapper, target);
}

void Audit::compare(MachineFrame frame)
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

void Audit::found(Discrepancy const& discrepancy)
{
    ++found_;
    report_.found(discrepancy);
}

}  // namespace pvn::frames
