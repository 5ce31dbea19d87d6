// SPDX-License-Identifier: MIT
// The few things of which a machine has one.
#pragma once

#include <cstdint>
#include <span>

#include "boot/boot_info.hpp"
#include "frames/frame_table.hpp"
#include "memory/frame_allocator.hpp"

namespace pvn {


struct Machine {
    boot::BootInfo boot;
    FrameAllocator allocator;
    frames::FrameTable* frames;
    std::uint64_t frame_count;          // frames below this have an entry in the frame table
    std::uint64_t ram_frames;
    std::span<std::uint64_t> m2p;
    std::uint64_t m2p_l2;               // physical: level-2 table of the slot's M2P area
};
extern Machine machine;

// A cleared frame of the hypervisor's own; physical address, 0 if there is none.
std::uint64_t allocate_own_frame();
void free_own_frame(std::uint64_t physical);

// Ends the machine.
[[noreturn]] void power_off();
[[noreturn]] void restart();

}  // namespace pvn
