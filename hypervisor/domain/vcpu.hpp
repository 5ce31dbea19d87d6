// SPDX-License-Identifier: MIT
// A virtual CPU: what must be kept while it does not run.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "arch/x86/registers.hpp"
#include "lib/heap.hpp"
#include "lib/id.hpp"
#include "paravane/hypercall.h"
#include "sched/policy.hpp"
#include "time/guest_timer.hpp"

namespace pvn {

struct Domain;

enum class VcpuState : std::uint8_t { offline, runnable, blocked };

inline constexpr std::uint32_t vcpu_limit = 64;  // of a domain
inline constexpr std::uint32_t no_cpu = ~std::uint32_t{0};

struct Vcpu {
    // What its home CPU's run queue guards (dispatcher/run_queue.hpp).
    sched::Entity entity{};      // first: the run queue hands entities back
    Vcpu* home_next{};           // of those with the same home, welcome there or not
    Vcpu** home_link{};          // what points to this one there
    VcpuState state{VcpuState::offline};
    GuestTimer timer{};
    std::uint64_t poll_deadline{}; // system time; 0: none
    HeapHook<Vcpu> deadline{};   // in the order of the sooner of both
    std::array<std::uint32_t, 64> poll_ports{};
    std::uint32_t poll_count{};  // 0: it does not poll; else one more than it has ports
    std::uint64_t cpu_time{};    // ns
    std::uint64_t state_since{}; // system time
    std::array<std::uint64_t, 4> state_time{};  // ns in each PVN_RUNSTATE_... before that
    std::uint32_t run_state{PVN_RUNSTATE_OFFLINE};
    std::atomic<std::uint32_t> home{0};         // changes only while it is not active
    // The CPU whose registers hold its state: nobody else may look at what follows, or take it home.
    std::atomic<std::uint32_t> active{no_cpu};
    std::uint32_t loaded_on{no_cpu};            // CPU that still holds exactly what was saved

    Domain* domain{};
    VcpuId id{};

    // Counted by the CPU where it is active.
    std::uint64_t hypercalls{}, traps{}, interrupts{}, emulated{};

    // Valid while it is not active; the active vCPU's are on the entry stack and in the CPU.
    Registers registers{};
    std::uint64_t fs_base{}, gs_base{};
    std::uint32_t tsc_aux{};     // valid always
    std::array<std::uint16_t, 4> selectors{};  // DS ES FS GS
    std::array<std::uint64_t, 4> debug_address{};
    std::uint64_t debug_control{0x400};
    std::uint64_t debug_status{0xffff0ff0};
    void* fpu{};                 // XSAVE area, one page

    // Valid always.
    MachineFrame root{};         // level-4 table, promoted; 0: none, it has not been initialised
    MachineFrame stack_frame{};  // on which the CPU enters ring 0 while it is active; hostile memory
    MachineFrame page_frame{};
    pvn_vcpu_page* page{};       // hostile memory
    std::array<std::uint64_t, 4> descriptor{};  // GDT entries PVN_GDT_FIRST_OWN..
    std::array<std::uint64_t, 16> ldt{};        // physical: pages of the local descriptor table, 0 where there is none
    std::uint32_t ldt_entries{};
    std::array<std::uint64_t, 2> io_bitmap{};   // physical: ports refused to ring 3; 0, 0: all
};

}  // namespace pvn
