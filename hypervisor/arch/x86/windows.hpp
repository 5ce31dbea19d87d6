// SPDX-License-Identifier: MIT
// The two windows through which the hypervisor sees what has no name of its own: this CPU's private pages, and all RAM.  A seam: the
// hypercalls also run on a host (tests/fuzz/machine), where other addresses stand here.
#pragma once

#include <cstdint>

#include "lib/id.hpp"

namespace pvn {

inline constexpr std::uint64_t page_size = 4096;

inline constexpr std::uint64_t cpu_window = 0xffff808000000000;
inline constexpr std::uint64_t direct_map = 0xffff810000000000;

inline void* physical_pointer(std::uint64_t physical) { return reinterpret_cast<void*>(direct_map + physical); }
template <class T = void>
T* frame_pointer(MachineFrame frame) { return static_cast<T*>(physical_pointer(frame.raw() * page_size)); }
inline MachineFrame frame_of(void const* direct_mapped)
{
    return MachineFrame{(reinterpret_cast<std::uint64_t>(direct_mapped) - direct_map) / page_size};
}

}  // namespace pvn
