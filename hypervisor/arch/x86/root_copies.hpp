// SPDX-License-Identifier: MIT
// A guest runs on a copy of its level-4 table that carries the slot.  Each CPU keeps the copies of the roots that it used last, and
// every change of a level-4 table goes into all copies of it, so that to go back to one of them costs nothing.
#pragma once

#include <array>
#include <cstdint>

#include "lib/id.hpp"

namespace pvn {

struct PerCpu;

struct RootCopy {
    std::uint64_t* entries;  // L4 page, through the direct map
    MachineFrame of;         // 0: nothing
    std::uint64_t used;      // when, in turns of this CPU
};

namespace root_copies {

inline constexpr std::size_t per_cpu = 8;

// For a CPU that is being set up: `slot` is the entry that all its copies have for the slot.
void prepare(PerCpu&, std::uint64_t slot);

// The next return to a guest loads a copy of this table, which is held as a root (frames::FrameTable::take_root).
void load(MachineFrame l4);

// Called with page_tables_lock held.
void entry_changed(MachineFrame l4, unsigned index, std::uint64_t value);
void retired(MachineFrame l4);     // it is no level-4 table any more, or has been emptied
std::uint64_t discrepancies(PerCpu&);  // entries of its copies that are not those of their tables

}  // namespace root_copies
}  // namespace pvn
