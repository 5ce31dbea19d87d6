// SPDX-License-Identifier: MIT
// The audit: counts every reference anew from all page tables, and compares.
#pragma once

#include <cstdint>
#include <span>

#include "frames/frame_table.hpp"

namespace pvn::frames {

struct Discrepancy {
    enum class Kind : std::uint8_t {
        count,            // expected is what the tables say, actual what the frame table says
        type_count,       // likewise
        type,             // type, type count and "promoted" do not agree; or a free or device frame is not all zero
        forbidden_entry,  // of a table, at an index, from here on: bits that no guest may set, or slot 256
        wrong_child,      // names no promoted table of the level below and the same owner
        writable_table,   // maps a frame writable that is not typed so: a page table, perhaps
        stranger,         // maps a frame that its owner may not map (any more)
    };
    Kind kind;
    MachineFrame frame;  // where counts differ, or the target of the entry
    MachineFrame table;  // the entry's place
    unsigned index;
    std::uint64_t expected;
    std::uint64_t actual;
};

class AuditReport {
public:
    virtual void found(Discrepancy const&) = 0;

protected:
    ~AuditReport() = default;
};

// What the tables say of one frame.
struct Tally {
    std::uint64_t general;
    std::uint64_t typed;
};

// Looks at all tables once for every `scratch.size()` frames (at least one), so that it needs no memory of its own.  Returns the
// number of discrepancies; 0 if scratch is empty cannot be told from health, so that traps.  The caller holds the page_tables
// lock.  References that the hypervisor holds stand in no table: they are believed (FrameTable::held), and the caller who knows
// its roots and mappings can compare.
std::uint64_t audit(FrameTable const&, std::span<Tally> scratch, AuditReport&);

}  // namespace pvn::frames
