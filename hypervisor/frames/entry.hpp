// SPDX-License-Identifier: MIT
// One entry of a 4-level page table, and which bits of it a guest may choose.  [sdm/3] 4.5, [apm/2] 5.3
#pragma once

#include <cstdint>

#include "frames/page_type.hpp"
#include "lib/id.hpp"
#include "paravane/slot.h"

namespace pvn::frames {

inline constexpr unsigned entries_per_table = 512;

struct Entry {
    static constexpr std::uint64_t no_execute = std::uint64_t{1} << 63;      // XD, NX
    static constexpr std::uint64_t protection_key = std::uint64_t{0xf} << 59;  // leaves only; ignored without CR4.PKE
    // 58..52 are ignored by the CPU: the guest's
    static constexpr std::uint64_t frame_mask = 0x000f'ffff'ffff'f000;       // 51..12
    // 11..9 are ignored by the CPU: the guest's
    static constexpr std::uint64_t global = 1 << 8;         // leaf only
    static constexpr std::uint64_t page_attribute = 1 << 7; // PAT, in a level-1 entry
    static constexpr std::uint64_t page_size = 1 << 7;      // PS, in levels 2 and 3; reserved in level 4
    static constexpr std::uint64_t dirty = 1 << 6;          // leaf only; ignored elsewhere
    static constexpr std::uint64_t accessed = 1 << 5;
    static constexpr std::uint64_t cache_disable = 1 << 4;  // PCD
    static constexpr std::uint64_t write_through = 1 << 3;  // PWT
    static constexpr std::uint64_t user = 1 << 2;
    static constexpr std::uint64_t writable_bit = 1 << 1;
    static constexpr std::uint64_t present_bit = 1 << 0;

    std::uint64_t raw;

    constexpr bool present() const { return (raw & present_bit) != 0; }
    constexpr bool writable() const { return (raw & writable_bit) != 0; }
    constexpr MachineFrame frame() const { return MachineFrame{(raw & frame_mask) >> 12}; }
    // Level 1.  PAT index 0 is write-back; any other may be weaker ([sdm/3] 11.12.3; the hypervisor sets the PAT).
    constexpr bool weakly_cached() const { return (raw & (page_attribute | cache_disable | write_through)) != 0; }
};
static_assert(sizeof(Entry) == 8);

constexpr Entry make_entry(MachineFrame frame, std::uint64_t bits) { return Entry{(frame.raw() << 12) | bits}; }

// The bits of a present entry that a guest may not set.
//
// Address bits from MAXPHYADDR up are reserved: the walk would fault with RSVD.  In levels 2 to 4, PS would map a large page
// unchecked (the mistake of XSA-148), PWT and PCD would have the walk read the table below uncached while we write it cached, G
// is reserved in level 4 on AMD and means nothing elsewhere, and protection keys belong to leaves.
//
// G in a leaf is the guest's to set, and therefore CR4.PGE is never set while a guest's root is loaded: a global translation
// of the guest would outlive the switch to the hypervisor's root.
constexpr std::uint64_t forbidden_bits(unsigned level, unsigned physical_bits)
{
    auto const beyond = Entry::frame_mask & ~((std::uint64_t{1} << physical_bits) - 1);
    if (level == 1)
        return beyond;
    return beyond | Entry::protection_key | Entry::global | Entry::page_size | Entry::cache_disable | Entry::write_through;
}

// May a guest have this entry at this place, so far as its bits tell?  The frame is another question.
//
// An entry that is not present may hold anything, address bits too.  On a CPU with L1TF those bits should be inverted or point
// beyond memory; that is left to the guest, which does it for itself on bare metal too (Linux does).  What one guest could read
// of others that way is prevented by flushing the L1 cache when a CPU goes to another domain, not here.
class EntryRules {
public:
    // `physical_bits`: MAXPHYADDR, at most 52.
    explicit constexpr EntryRules(unsigned physical_bits)
    {
        for (unsigned level = 1; level <= top_level; ++level)
            forbidden_[level] = forbidden_bits(level, physical_bits);
    }
    constexpr bool allow(unsigned level, unsigned index, Entry entry) const
    {
        if (!entry.present())
            return true;
        if (level == top_level && index == PVN_SLOT_INDEX)
            return false;
        return (entry.raw & forbidden_[level]) == 0;
    }

private:
    std::uint64_t forbidden_[top_level + 1]{};
};

}  // namespace pvn::frames
