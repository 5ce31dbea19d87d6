// SPDX-License-Identifier: MIT
#include "arch/x86/root_copies.hpp"

#include <algorithm>
#include <cstring>

#include "arch/x86/address_space_tags.hpp"
#include "arch/x86/memory_map.hpp"
#include "arch/x86/paging.hpp"
#include "arch/x86/per_cpu.hpp"
#include "console/log.hpp"
#include "machine.hpp"

namespace pvn::root_copies {
namespace {

constexpr unsigned entries_per_table = 512;

template <class Action>
void for_each_copy(MachineFrame l4, Action action)
{
    for (std::uint32_t id = 0; id < cpu_count; ++id) {
        auto& cpu = *all_cpus[id];
        Guard const guard{cpu.root_lock};
        for (auto& copy : cpu.roots)
            if (copy.of == l4) action(copy);
    }
}

}  // namespace

void prepare(PerCpu& cpu, std::uint64_t slot)
{
    for (auto& copy : cpu.roots) {
        auto const frame = allocate_own_frame();
        if (frame == 0) panic("too little memory for the tables of a CPU");
        copy.entries = static_cast<std::uint64_t*>(physical_pointer(frame));
        copy.entries[PVN_SLOT_INDEX] = slot;
    }
}

void load(MachineFrame l4)
{
    auto& self = this_cpu();
    Guard const guard{self.root_lock};
    auto* copy = std::ranges::find(self.roots, l4, &RootCopy::of);
    if (copy == self.roots.end()) {
        copy = std::ranges::min_element(self.roots, {}, &RootCopy::used);
        // Whoever changes the table from here on waits for the lock and finds this copy.
        copy->of = l4;
        auto const* const entries = frame_pointer<std::uint64_t const>(l4);
        std::memcpy(copy->entries, entries, PVN_SLOT_INDEX * 8);
        std::memcpy(copy->entries + PVN_SLOT_INDEX + 1, entries + PVN_SLOT_INDEX + 1, (entries_per_table - 1 - PVN_SLOT_INDEX) * 8);
    }
    copy->used = ++self.root_loads;
    address_space_tags::show_guest_root(self, frame_of(copy->entries).raw() * page_size);
    self.forget_guest = true;
}

void entry_changed(MachineFrame l4, unsigned index, std::uint64_t value)
{
    for_each_copy(l4, [&](RootCopy& copy) { copy.entries[index] = value; });
}

void retired(MachineFrame l4)
{
    for_each_copy(l4, [](RootCopy& copy) { copy.of = {}, copy.used = 0; });
}

std::uint64_t discrepancies(PerCpu& cpu)
{
    std::uint64_t found = 0;
    Guard const guard{cpu.root_lock};
    for (auto const& copy : cpu.roots) {
        if (copy.of == MachineFrame{}) continue;
        auto const* const entries = frame_pointer<std::uint64_t const>(copy.of);
        for (unsigned i = 0; i < entries_per_table; ++i)  // the CPU sets the accessed bit in the copy
            if (i != PVN_SLOT_INDEX && ((copy.entries[i] ^ entries[i]) & ~paging::accessed) != 0) ++found;
    }
    return found;
}

}  // namespace pvn::root_copies
