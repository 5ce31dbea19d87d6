// SPDX-License-Identifier: MIT
// The few things of which a machine has one.
#pragma once

#include <cstdint>
#include <span>

#include "boot/boot_info.hpp"
#include "frames/frame_table.hpp"
#include "lib/lock.hpp"

namespace pvn {

// Guards the frame table, all page tables of guests, the M2P and every domain's P2M: one lock, for a foreign mapping counts on
// another domain's frame.  While it is held no frame changes its owner, so what a walk of a guest's tables found can be used.
inline constinit SpinLock page_tables_lock{Rank::page_tables};

struct Machine {
    boot::BootInfo boot;
    std::uint64_t frame_count;          // frames below this have an entry in the frame table
    std::uint64_t ram_frames;
    std::span<std::uint64_t> m2p;
    std::uint64_t m2p_l2;               // physical: level-2 table of the slot's M2P area
    frames::FrameTable* frame_table;    // through LockedFrames
};
extern Machine machine;

// The frame table, locked.  Functions that need it locked take one of these.
class PVN_SCOPED_CAPABILITY LockedFrames {
public:
    LockedFrames() PVN_ACQUIRE(page_tables_lock) { page_tables_lock.lock(); }
    LockedFrames(LockedFrames const&) = delete;
    LockedFrames& operator=(LockedFrames const&) = delete;
    ~LockedFrames() PVN_RELEASE() { page_tables_lock.unlock(); }
    frames::FrameTable* operator->() const { return machine.frame_table; }
    frames::FrameTable& operator*() const { return *machine.frame_table; }
};

// A cleared frame of the hypervisor's own; physical address, 0 if there is none.
std::uint64_t allocate_own_frame();
void free_own_frame(std::uint64_t physical);

// Ends the machine.
[[noreturn]] void power_off();
[[noreturn]] void restart();

}  // namespace pvn
