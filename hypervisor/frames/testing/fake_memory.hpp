// SPDX-License-Identifier: MIT
// A small machine for tests: physical memory, what TLBs may still hold, and copies of roots.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "frames/audit.hpp"
#include "frames/frame_table.hpp"

namespace pvn::frames::testing {

using Page = std::array<std::uint64_t, entries_per_table>;

class FakeMemory final : public Memory {
public:
    explicit FakeMemory(std::size_t frames) : pages(frames) {}

    std::uint64_t* table(MachineFrame frame) override { return pages.at(frame.raw()).data(); }
    void flush_stale_writable(MachineFrame frame) override
    {
        // The type must stand before the flush, or a writable mapping could appear between flush and check (XSA-401).
        if (!is_table(frames->type(frame)))
            complaint = "flushed before the type was taken";
        stale_writable.erase(frame.raw());
        ++flushes;
    }
    void flush_stale_walks(MachineFrame frame) override
    {
        stale_walks.erase(frame.raw());
        ++walk_flushes;
    }
    void write_back(MachineFrame frame) override { written_back.push_back(frame); }
    void root_entry_changed(MachineFrame l4, unsigned index, std::uint64_t value) override
    {
        if (index == PVN_SLOT_INDEX)
            complaint = "the slot's entry of a root was overwritten";
        if (auto copy = roots.find(l4.raw()); copy != roots.end())
            copy->second.at(index) = value;
        if (auto copy = kept_roots.find(l4.raw()); copy != kept_roots.end())
            copy->second.at(index) = value;
        root_changes.emplace_back(l4, index, value);
    }
    void root_retired(MachineFrame l4) override { kept_roots.erase(l4.raw()); }
    bool may_map_foreign(DomainId mapper, MachineFrame) override { return mapper == privileged; }
    bool has_granted(DomainId mapper, MachineFrame frame) override { return granted && granted(mapper, frame); }
    void frame_freed(DomainId, MachineFrame frame) override { freed.push_back(frame); }

    struct RootChange {
        MachineFrame l4;
        unsigned index;
        std::uint64_t value;
        bool operator==(RootChange const&) const = default;
    };

    std::vector<Page> pages;
    FrameTable* frames = nullptr;
    DomainId privileged{0};
    std::function<bool(DomainId, MachineFrame)> granted;
    std::set<std::uint64_t> stale_writable;  // a CPU may still have it mapped writable
    std::set<std::uint64_t> stale_walks;     // a CPU may still walk it
    std::map<std::uint64_t, Page> roots;     // copies of level-4 tables in use
    std::map<std::uint64_t, Page> kept_roots;  // copies of those that were in use and may be again
    std::vector<MachineFrame> written_back, freed;
    std::vector<RootChange> root_changes;
    unsigned flushes = 0, walk_flushes = 0;
    std::string complaint;
};

class AuditLog final : public AuditReport {
public:
    void found(Discrepancy const& d) override { list.push_back(d); }
    std::string text() const
    {
        std::string out;
        for (auto const& d : list)
            out += "kind " + std::to_string(static_cast<int>(d.kind)) + " frame " + std::to_string(d.frame.raw()) + " table " +
                   std::to_string(d.table.raw()) + " index " + std::to_string(d.index) + " expected " +
                   std::to_string(d.expected) + " actual " + std::to_string(d.actual) + "\n";
        return out;
    }
    std::vector<Discrepancy> list;
};

// Everything together.  Declared in the order of construction.
struct Machine {
    explicit Machine(std::size_t count, unsigned physical_bits = 46) : memory{count}, frames(count), table{frames, memory, physical_bits}
    {
        memory.frames = &table;
    }
    Machine(Machine const&) = delete;
    Machine& operator=(Machine const&) = delete;

    AuditLog audit(std::size_t window = 64) const
    {
        AuditLog log;
        std::vector<Tally> scratch(window);
        Audit audit{table, scratch, log};
        // In steps of few frames and of many: how it is cut up makes no difference.
        while (!audit.step(window)) {}
        if (audit.found() != log.list.size())
            log.found({});
        return log;
    }

    FakeMemory memory;
    std::vector<Frame> frames;
    FrameTable table;
};

}  // namespace pvn::frames::testing
