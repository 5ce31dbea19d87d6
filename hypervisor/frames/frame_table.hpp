// SPDX-License-Identifier: MIT
// The frame table: who owns each machine frame, what refers to it, and as what.
#pragma once

#include <cstdint>
#include <span>

#include "frames/entry.hpp"
#include "frames/frame.hpp"
#include "frames/memory.hpp"
#include "frames/page_type.hpp"
#include "lib/id.hpp"
#include "lib/result.hpp"

namespace pvn::frames {

// Locking: nothing here locks.  The caller of every function holds the page_tables lock.  It is one lock for the machine, not
// one per domain: a foreign mapping counts on another domain's frame.  The CPUs do not take it: they set accessed and dirty bits
// in live tables at any time, which is why live entries change by atomic exchange only.
//
// Errors: a function that returns one has changed nothing that a guest could notice - no owner, type, count, hold or entry.
// (Flushes that were done stay done, and weakly_cached may be set without need.)
//   range       a frame that the domain does not have, or may not map
//   invalid     a level, index, budget or forbidden bit; a domain id that is none
//   wrong_type  the frame is in use as something else, or is not the table it should be
//   exists      it is promoted to that level already
//   busy        something still refers to it
//   no_space    a count is full.  A count never wraps: 2^32 entries are 32 GiB of tables, which a machine can have
//
// References are taken general first, then type, and dropped in the opposite order.
class FrameTable {
public:
    // `frames` all zero: everything free.  Bits of an address from `physical_bits` (MAXPHYADDR, at most 52) up are reserved.
    FrameTable(std::span<Frame> frames, Memory& memory, unsigned physical_bits = 52);

    // --- Ownership ---------------------------------------------------------------------------------------------------

    // A free frame becomes the owner's, with the "allocated" reference.  The owner is a domain or hypervisor_owner.  No CPU may
    // hold a translation of it any more, of whomever: see release().
    void assign(MachineFrame, DomainId owner);
    // A free frame turns out to be no RAM.  At boot; there is no way back, for mappings of such frames are not counted.
    void mark_device(MachineFrame);
    // Drops the "allocated" reference: the frame is free.  Busy if there is any other.
    // CPUs may still hold translations of it (mappings are counted, TLBs are not): the caller has every CPU flush that ran any
    // domain which could map it, before the frame is assigned again or written by the hypervisor.
    Result<void> release(MachineFrame, DomainId owner);

    std::uint64_t size() const { return frames_.size(); }
    bool contains(MachineFrame frame) const { return frame.raw() < frames_.size(); }
    DomainId owner(MachineFrame frame) const { return contains(frame) ? at(frame).owner() : no_owner; }
    PageType type(MachineFrame frame) const { return contains(frame) ? at(frame).type : PageType::none; }
    std::uint32_t count(MachineFrame frame) const { return contains(frame) ? at(frame).count : 0; }
    std::uint32_t type_count(MachineFrame frame) const { return contains(frame) ? at(frame).type_count : 0; }
    std::uint32_t held(MachineFrame frame) const { return contains(frame) ? at(frame).held : 0; }

    // --- Page tables (tables.cpp) --------------------------------------------------------------------------------------

    // The domain's frame becomes a page table of that level, if its 512 entries are fit for one.  It keeps a type reference of
    // its own until it is demoted.  Errors: invalid, range, exists, wrong_type, no_space; those of the first bad entry.
    Result<void> promote(DomainId, MachineFrame, unsigned level);
    // And back.  Its contents stay as they are, now as data.  Busy while a parent names it or it is in use as a root.
    Result<void> demote(DomainId, MachineFrame);
    // Stores into a promoted table.  With keep_accessed_dirty, accessed and dirty bits of the old entry are kept if the new
    // one maps the same frame.  Entry 256 of a level-4 table cannot be written at all.
    Result<void> write_entry(DomainId, MachineFrame table, unsigned index, std::uint64_t value, bool keep_accessed_dirty);
    // The same for neighbouring entries, in order.  The first that is refused ends it; those before it stay written.  Invalid, and
    // nothing done, if they do not all lie in the table.
    struct Written {
        std::size_t count;
        Result<void> result;
    };
    Written write_entries(DomainId, MachineFrame table, unsigned first, std::span<std::uint64_t const> values, bool keep_accessed_dirty);
    // The same for an emulated locked instruction.  Returns what the entry was: if that is `expected`, then it is `value` now.
    // Otherwise nothing changed, and the value was not looked at.
    Result<std::uint64_t> compare_exchange_entry(DomainId, MachineFrame table, unsigned index, std::uint64_t expected,
                                                 std::uint64_t value);

    // --- References that the hypervisor holds -----------------------------------------------------------------------------

    // A level-4 table of the domain is the root of a vCPU.  Each take has one drop.
    Result<void> take_root(DomainId, MachineFrame);
    void drop_root(MachineFrame);
    // The hypervisor has a frame of the domain mapped writable (vCPU page and the like).  Each take has one drop.
    Result<void> take_writable(DomainId, MachineFrame);
    void drop_writable(MachineFrame);
    // A frame of the hypervisor's may be mapped by that domain from now on.  Range if not the hypervisor's, wrong_type if typed.
    Result<void> share(MachineFrame, DomainId guest);
    // No longer.  Busy while it is mapped; wrong_type if it is not shared.
    Result<void> unshare(MachineFrame);

    // --- Grants (granted.cpp) ----------------------------------------------------------------------------------------------

    // A frame of the domain is in use by whom it was granted to, or is copied to or from.  Each take has one drop.  Errors: invalid,
    // range, no_space; to write: wrong_type.
    Result<void> take_granted(DomainId owner, MachineFrame, bool to_write);
    void drop_granted(MachineFrame, bool to_write);
    // A level-1 entry that is not present becomes one that maps a frame which the caller has taken for as much.  For domains that may
    // not map foreign frames there is no other way to such an entry: they cannot move or copy it.
    // Errors: as write_entry(); exists: the entry is present.
    Result<void> map_granted(DomainId mapper, MachineFrame table, unsigned index, Entry);
    // That entry, if it is still there: a domain can clear it, or give up the table.  CPUs may still remember it afterwards.
    void unmap_granted(DomainId mapper, MachineFrame table, unsigned index, MachineFrame);

    // --- The end of a domain (tear_down.cpp) --------------------------------------------------------------------------------

    // Empties the tables of a dead domain and frees its frames; Memory::frame_freed hears of each.  Looks at frames from
    // `first` on; looking at one costs 1 of the budget and emptying a table 512 more, and at least one frame is done.  Returns
    // the next frame to look at, size() at the end.  One pass from 0 frees whatever can be: what remains is mapped by others or
    // held (a root in use is not even emptied), and another pass after that has ended frees it.
    // None of the domain's vCPUs runs any more, and nobody calls the functions above on its behalf.
    Result<std::uint64_t> tear_down(DomainId, std::uint64_t first, std::uint64_t budget);

    // --- For the audit ---------------------------------------------------------------------------------------------------

    Frame const& frame(MachineFrame frame) const { return at(frame); }
    Memory& memory() const { return memory_; }
    EntryRules const& rules() const { return rules_; }

private:
    struct Place {  // an entry of a promoted table
        MachineFrame table;
        unsigned level;
        unsigned index;
        std::uint64_t* address;
    };

    Frame& at(MachineFrame frame) const { return frames_[frame.raw()]; }
    Result<void> check_owned(DomainId, MachineFrame) const;

    static Result<void> take_general(Frame&);
    static void drop_general(Frame&);
    Result<void> take_type(MachineFrame, PageType);  // the caller has a general reference
    static void drop_type(Frame&);
    Result<void> take_both(MachineFrame, PageType);
    void drop_both(MachineFrame);
    void end_promotion(MachineFrame);
    Result<void> hold(MachineFrame, PageType);
    void unhold(MachineFrame, PageType);
    void set_free(MachineFrame);

    Result<Entry> exchange_entry(DomainId, Place const&, std::uint64_t value, bool keep_accessed_dirty);
    Written write_from(DomainId, Place, std::span<std::uint64_t const> values, bool keep_accessed_dirty);
    Result<Place> find_place(DomainId, MachineFrame table, unsigned index) const;
    Result<void> take_entry(DomainId, unsigned level, Entry);
    Result<void> take_child(DomainId, unsigned level, MachineFrame);
    Result<void> take_page(DomainId, Entry);
    Result<void> take_others_page(DomainId, Entry);
    Result<void> take_mapping(Entry, PageType);
    void drop_entry(unsigned level, Entry);
    void remember_cacheability(unsigned level, Entry);

    void empty_table(DomainId, MachineFrame);
    void settle(DomainId, MachineFrame);

    std::span<Frame> frames_;
    Memory& memory_;
    EntryRules rules_;
};

}  // namespace pvn::frames
