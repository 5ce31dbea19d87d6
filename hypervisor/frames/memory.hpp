// SPDX-License-Identifier: MIT
// What the frame table needs of the machine around it.
#pragma once

#include <cstdint>

#include "lib/id.hpp"

namespace pvn::frames {

// A seam: the hypervisor implements it with the direct map and IPIs, the tests with arrays.  All are called with the page_tables
// lock held and must not call back into the frame table's changing functions.
class Memory {
public:
    // The 512 entries of a frame, as the hypervisor sees them.
    virtual std::uint64_t* table(MachineFrame) = 0;

    // Every CPU that may hold a stale writable translation of the frame flushes before this returns.  Those are not only CPUs
    // of the owner: a privileged domain may have had it mapped.  An implementation with time stamps may find nothing to do.
    virtual void flush_stale_writable(MachineFrame) = 0;

    // The frame was a page table and is about to be writable.  Paging-structure caches may still lead a CPU to it ([sdm/3]
    // 4.10.3): every CPU that may flushes before this returns, or the guest would write entries that nobody checked.
    virtual void flush_stale_walks(MachineFrame frame) { flush_stale_writable(frame); }

    // The frame was mapped other than write-back: write back and drop its lines from all caches (XSA-402).
    virtual void write_back(MachineFrame) = 0;

    // An entry of a level-4 table changed.  Whoever has a copy of that table has the value before this returns.
    virtual void root_entry_changed(MachineFrame l4, unsigned index, std::uint64_t value) = 0;

    // It is no level-4 table any more, or has been emptied.  No CPU has it as its root; copies that are kept are worth nothing now.
    virtual void root_retired(MachineFrame) {}

    // A present entry of a promoted table of that domain lost what it named, and CPUs may still remember it.
    virtual void entry_dropped(DomainId) {}

    // May the domain map a frame that is not its own: another domain's, or no RAM at all?  Never asked for the hypervisor's.
    virtual bool may_map_foreign(DomainId mapper, MachineFrame) = 0;

    // For the audit: has that domain a grant of the frame mapped?
    virtual bool has_granted(DomainId, MachineFrame) { return false; }

    // Tear-down freed the frame.  As after release(), see there.
    virtual void frame_freed(DomainId owner, MachineFrame) = 0;

protected:
    ~Memory() = default;  // never deleted through this type: no operator delete in the hypervisor
};

}  // namespace pvn::frames
