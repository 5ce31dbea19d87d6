// SPDX-License-Identifier: MIT
// What each CPU has of its own, at the same address on all of them.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "arch/x86/memory_map.hpp"
#include "arch/x86/registers.hpp"
#include "arch/x86/root_copies.hpp"
#include "lib/lock.hpp"
#include "time/one_shot.hpp"
#include "tlb/rule.hpp"

namespace pvn {

struct Vcpu;

inline constexpr std::uint32_t cpu_limit = 64;
inline constexpr std::uint64_t ldt_selector = 0xa0;  // in the GDT of each CPU; two entries

struct PerCpu {
    std::uint32_t id;                 // 0: the one that booted
    std::uint32_t apic_id;
    std::uint32_t held_ranks;         // of its locks
    DomainId last_domain;             // of the vCPU that was loaded last
    std::atomic<Vcpu*> current;       // whose state the CPU and the slot hold; null: nobody's

    // Written by this CPU, read by all.
    std::atomic<bool> online;
    std::atomic<bool> idle;                 // waits for an interrupt
    tlb::GuestStay<std::atomic> stay;
    // Written by all, read by this one.
    std::atomic<bool> reschedule;           // who runs is in question

    std::atomic<bool> parked;               // runs no vCPUs
    std::atomic<bool> send_away;            // some of its vCPUs may not be here any more

    SpinLock root_lock{Rank::root};
    std::array<RootCopy, root_copies::per_cpu> roots;
    std::uint64_t root_loads;

    OneShot timer;

    std::uint64_t hypervisor_root;    // physical
    bool pcids;                       // CR4.PCIDE is on
    bool forget_guest;                // what is remembered of the guest is not to be used again (tlb/flush.hpp)
    std::uint64_t* slot_l3;
    std::uint64_t* slot_l1;           // first 2 MiB of the slot
    std::uint64_t* gdt;               // through the direct map: the slot's own mapping is read-only
    std::uint64_t* constants;
};
static_assert(sizeof(PerCpu) <= page_size);

inline PerCpu& this_cpu() { return *reinterpret_cast<PerCpu*>(cpu_window); }
// Those that have been found, through the direct map; null above.
inline constinit std::array<PerCpu*, cpu_limit> all_cpus{};
inline constinit std::uint32_t cpu_count = 0;

// The frame that `leave_to_guest` loads.
inline Registers& entry_registers() { return *reinterpret_cast<Registers*>(slot::registers_top - sizeof(Registers)); }

}  // namespace pvn
