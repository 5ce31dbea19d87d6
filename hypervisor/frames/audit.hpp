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

// An audit in steps, each of them bounded.  It looks at all tables once for every `scratch.size()` frames (at least one), so that it
// needs no memory of its own.  From the first step to the last nobody else changes a table or the frame table; the caller holds the
// page_tables lock around each step.  References that the hypervisor holds stand in no table: they are believed (FrameTable::held),
// and the caller who knows its roots and mappings can compare.
class Audit {
public:
    // An empty scratch would find nothing, which cannot be told from health: that traps.
    Audit(FrameTable const& table, std::span<Tally> scratch, AuditReport& report);

    // Looks at some frames more: `budget` of them, where a page table counts for as many as it has entries.  True: that was the last.
    bool step(std::uint64_t budget);
    std::uint64_t found() const { return found_; }  // discrepancies

private:
    // What is done in turn for each window of frames that the scratch has room for; and how far that is.
    enum class Phase : std::uint8_t { clear, count, compare };
    void start(Phase phase);

    void count(MachineFrame table, unsigned level);
    void look_at(MachineFrame table, unsigned level, unsigned index, Entry entry);
    bool may_map(DomainId mapper, MachineFrame target, bool counted) const;
    void compare(MachineFrame frame);
    void found(Discrepancy const& discrepancy);

    FrameTable const& table_;
    std::span<Tally> scratch_;
    AuditReport& report_;
    std::uint64_t first_ = 0, end_ = 0;  // the window
    Phase phase_{};
    std::uint64_t next_ = 0, last_ = 0;  // of the phase
    std::uint64_t found_ = 0;
};

}  // namespace pvn::frames
