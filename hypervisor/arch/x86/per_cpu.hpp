// SPDX-License-Identifier: MIT
// What each CPU has of its own, at the same address on all of them.
#pragma once

#include <array>
#include <cstdint>

#include "arch/x86/memory_map.hpp"
#include "arch/x86/registers.hpp"

namespace pvn {

struct Vcpu;

struct PerCpu {
    std::uint32_t id;
    Vcpu* current;                    // whose state the CPU and the slot hold; null: nobody's
    Vcpu* running;                    // the same, or null while idle
    bool reschedule;                  // the running vCPU may have to give way
    std::uint64_t slice_end;          // system time at which it must, 0: never
    std::uint64_t accounted_until;    // CPU time up to here has been charged
    std::uint64_t* guest_root;        // L4 page
    std::uint64_t hypervisor_root;    // physical
    std::uint64_t* slot_l3;
    std::uint64_t* slot_l1;           // first 2 MiB of the slot
    std::uint64_t* gdt;               // through the direct map: the slot's own mapping is read-only
    std::uint64_t* constants;
};
static_assert(sizeof(PerCpu) <= page_size);

inline PerCpu& this_cpu() { return *reinterpret_cast<PerCpu*>(cpu_window); }
// The frame that `leave_to_guest` loads.
inline Registers& entry_registers() { return *reinterpret_cast<Registers*>(slot::registers_top - sizeof(Registers)); }

}  // namespace pvn
