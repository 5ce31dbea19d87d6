// SPDX-License-Identifier: MIT
// Segment descriptors of guests.  [sdm/3] 3.4.5
#pragma once

#include <cstdint>

#include "lib/result.hpp"

namespace pvn::descriptor {

inline constexpr std::uint64_t accessed = 1ull << 40, readable_or_writable = 1ull << 41, code = 1ull << 43, code_or_data = 1ull << 44,
                               dpl = 3ull << 45, present = 1ull << 47;

constexpr bool names_ring_3(std::uint64_t d) { return (d & code_or_data) != 0 && (d & dpl) == dpl; }

// What stands in the CPU's table for an entry of a guest's LDT.  Only code and data of ring 3: no gate and no system segment, which
// would lead to another ring or load a table, and nothing of ring 1 or 0: entry.S knows that no 32-bit code runs in ring 1.  The accessed bit is
// set, since the CPU would set it in a table that is read-only.  What is not present cannot be loaded; LAR and LSL look at it
// all the same ([sdm/2] LAR), so code and data are kept as they are.
constexpr Result<std::uint64_t> of_local_table(std::uint64_t d)
{
    if ((d & present) == 0) return names_ring_3(d) ? d : 0;
    if (!names_ring_3(d)) return Fail{Error::invalid};
    return d | accessed;
}

// Data, or code that can be read: what DS, ES, FS and GS take.
constexpr bool is_loadable(std::uint64_t d)
{
    return (d & present) != 0 && names_ring_3(d) && ((d & code) == 0 || (d & readable_or_writable) != 0);
}

constexpr std::uint64_t base(std::uint64_t d) { return (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000); }

}  // namespace pvn::descriptor
