// SPDX-License-Identifier: MIT
// In place of hypervisor/arch/x86/windows.hpp: a process has its windows elsewhere.
#pragma once

#include <cstdint>

namespace pvn {

inline constexpr std::uint64_t cpu_window = 0x200000000000;
inline constexpr std::uint64_t direct_map = 0x210000000000;

}  // namespace pvn
