// SPDX-License-Identifier: MIT
// PCIDs: a CPU that has them tags what it remembers of translations with the number that was in CR3, and keeps it when CR3 is loaded.
// [sdm/3] 4.10.1, 4.10.4.1; AMD has the same since Zen 3 ([apm/2] 5.5.1).
//
// The hypervisor's root has one number, that of the guest which the CPU is in another.  So an interrupt or a hypercall that changes
// no translations costs a TLB nothing.  When those of a guest are to be forgotten says tlb/flush.hpp.  On a CPU without PCIDs both
// numbers are 0.
#pragma once

#include "arch/x86/cpu.hpp"
#include "arch/x86/per_cpu.hpp"

namespace pvn::address_space_tags {

inline constexpr std::uint64_t guest = 1, keep = std::uint64_t{1} << 63;  // bits 11 to 0, and bit 63, of what is loaded

inline bool available() { return (cpu::cpuid(1).c & 1u << 17) != 0; }

// The slot's words from which the entry stubs load CR3.
inline void show_hypervisor_root(PerCpu& cpu) { cpu.constants[0] = cpu.hypervisor_root | (cpu.pcids ? keep : 0); }
inline void show_guest_root(PerCpu& cpu, std::uint64_t root) { cpu.constants[1] = root | (cpu.pcids ? guest : 0); }
// To be called last before a guest is entered, once for each time.
inline void show_whether_to_forget(PerCpu& cpu)
{
    if (!cpu.pcids) return;
    cpu.constants[1] = (cpu.constants[1] & ~keep) | (cpu.forget_guest ? 0 : keep);
    cpu.forget_guest = false;
}

}  // namespace pvn::address_space_tags
