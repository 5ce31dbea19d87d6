// SPDX-License-Identifier: MIT
// The end of a domain: its tables are emptied where they stand, and a frame is freed as its last other reference goes.
#include <algorithm>
#include <atomic>

#include "frames/frame_table.hpp"

namespace pvn::frames {

// A table can be emptied while parents name it, for an empty table is a valid one.  So frames can be taken in the order of
// their numbers, the work at each is bounded, and all invariants hold between two calls.
Result<std::uint64_t> FrameTable::tear_down(DomainId domain, std::uint64_t first, std::uint64_t budget)
{
    if (!is_domain(domain) || budget == 0)
        return Fail{Error::invalid};
    auto next = first;
    while (next < size() && budget > 0) {
        MachineFrame const frame{next++};
        --budget;
        auto const& f = at(frame);
        if (f.owner() != domain)
            continue;
        bool const is_root_in_use = f.type == PageType::l4 && f.held != 0;
        if (is_table(f.type) && !f.has(Frame::emptied) && !is_root_in_use) {
            empty_table(domain, frame);
            budget -= std::min<std::uint64_t>(budget, entries_per_table);
        }
        settle(domain, frame);
    }
    return std::min(next, size());
}

void FrameTable::empty_table(DomainId domain, MachineFrame table)
{
    auto const level = level_of(at(table).type);
    auto* const entries = memory_.table(table);
    for (unsigned i = 0; i < entries_per_table; ++i) {
        Entry const old{std::atomic_ref{entries[i]}.exchange(0)};
        if (!old.present())
            continue;
        drop_entry(level, old);
        settle(domain, old.frame());
    }
    if (level == top_level)
        memory_.root_retired(table);
    at(table).set(Frame::emptied);
}

// Frees the frame if nothing but its allocation, and for an emptied table its promotion, keeps it.
void FrameTable::settle(DomainId domain, MachineFrame frame)
{
    if (!contains(frame) || at(frame).owner() != domain)
        return;
    auto& f = at(frame);
    if (f.has(Frame::emptied) && f.type_count == 1)
        end_promotion(frame);
    if (f.count != 1)
        return;
    set_free(frame);
    memory_.frame_freed(domain, frame);
}

}  // namespace pvn::frames
