// SPDX-License-Identifier: MIT
// A virtual CPU: what must be kept while it does not run.
#pragma once

#include <array>
#include <cstdint>

#include "arch/x86/registers.hpp"
#include "lib/id.hpp"
#include "paravane/hypercall.h"
#include "sched/policy.hpp"

namespace pvn {

struct Domain;

enum class VcpuState : std::uint8_t { offline, runnable, blocked };

struct Vcpu {
    sched::Entity entity{};  // first: the run queue hands entities back
    Domain* domain{};
    VcpuId id{};
    VcpuState state{VcpuState::offline};

    // Valid while it does not run; the running vCPU's are on the entry stack and in the CPU.
    Registers registers{};
    std::uint64_t fs_base{}, gs_base{};
    std::array<std::uint16_t, 4> selectors{};  // DS ES FS GS
    std::array<std::uint64_t, 4> debug_address{};
    std::uint64_t debug_control{0x400};
    std::uint64_t debug_status{0xffff0ff0};
    void* fpu{};                 // XSAVE area, one page

    // Valid always.
    MachineFrame root{};         // level-4 table, promoted; 0: none
    MachineFrame page_frame{};
    pvn_vcpu_page* page{};       // hostile memory
    std::array<std::uint64_t, 4> descriptor{};  // GDT entries PVN_GDT_FIRST_OWN..
    std::uint64_t timer{};       // system time, ns; 0: not set
    std::uint64_t poll_deadline{};
    std::array<std::uint32_t, 64> poll_ports{};
    std::uint32_t poll_count{};
    Port timer_port{};
    std::uint64_t cpu_time{};    // ns
    std::uint64_t state_since{}; // system time
    std::uint32_t run_state{PVN_RUNSTATE_OFFLINE};
};

}  // namespace pvn
