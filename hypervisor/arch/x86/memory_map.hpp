// SPDX-License-Identifier: MIT
// The hypervisor's own address space (the hypervisor root of each CPU).  The same table: docs/memory-map.md
#pragma once

#include <cstdint>

#include "arch/x86/windows.hpp"
#include "lib/id.hpp"
#include "paravane/slot.h"

namespace pvn {

inline constexpr std::uint64_t page_size = 4096;

// L4 256      the slot: as under the guest root
// L4 257      this CPU's private window: PerCpu at its start, the stack between guard pages
// L4 258..    all RAM, 2 MiB pages, no execute
// L4 511      the image: text R-X, read-only data R--, data RW-, at `image_base` + physical address
inline constexpr std::uint64_t cpu_stack_bottom = cpu_window + 0x10000, cpu_stack_top = cpu_window + 0x14000;
inline constexpr std::uint64_t direct_map_size = 16ull << 40;
inline constexpr std::uint64_t image_base = 0xffffffff80000000;

// The slot, beyond what is ABI.  Offsets in bytes from PVN_SLOT_BASE; one page each unless said otherwise.
namespace slot {
inline constexpr std::uint64_t gdt = 0x20000, idt = 0x21000, constants = 0x22000, tss = 0x23000,
                               io_bitmap = 0x24000 /* two pages */, io_bitmap_end = 0x26000;
inline constexpr std::uint64_t entry_stack = 0x41000, nmi_stack = 0x43000, debug_stack = 0x45000, double_fault_stack = 0x47000,
                               machine_check_stack = 0x49000;
inline constexpr std::uint64_t ldt = 0xa0000;  // 16 pages
inline constexpr std::uint64_t vcpu_page = PVN_SLOT_VCPU_PAGE - PVN_SLOT_BASE, domain_page = PVN_SLOT_DOMAIN_PAGE - PVN_SLOT_BASE;
inline constexpr std::uint64_t registers_top = PVN_SLOT_BASE + entry_stack + page_size;
}  // namespace slot

inline void* physical_pointer(std::uint64_t physical) { return reinterpret_cast<void*>(direct_map + physical); }
template <class T = void>
T* frame_pointer(MachineFrame frame) { return static_cast<T*>(physical_pointer(frame.raw() * page_size)); }
inline MachineFrame frame_of(void const* direct_mapped)
{
    return MachineFrame{(reinterpret_cast<std::uint64_t>(direct_mapped) - direct_map) / page_size};
}

}  // namespace pvn
