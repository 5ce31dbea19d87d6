// SPDX-License-Identifier: MIT
// In place of hypervisor/arch/x86/windows.hpp: a process has its windows elsewhere.
#pragma once

#include <cstdint>

#include "lib/id.hpp"

namespace pvn {

inline constexpr std::uint64_t page_size = 4096;

inline constexpr std::uint64_t cpu_window = 0x200000000000;
inline constexpr std::uint64_t direct_map = 0x210000000000;

inline void* physical_pointer(std::uint64_t physical) { return reinterpret_cast<void*>(direct_map + physical); }
template <class T = void>
T* frame_pointer(MachineFrame frame) { return static_cast<T*>(physical_pointer(frame.raw() * page_size)); }
inline MachineFrame frame_of(void const* direct_mapped)
{
    return MachineFrame{(reinterpret_cast<std::uint64_t>(direct_mapped) - direct_map) / page_size};
}

}  // namespace pvn
