// SPDX-License-Identifier: MIT
// The two windows through which the hypervisor sees what has no name of its own: this CPU's private pages, and all RAM.  A seam: the
// hypercalls also run on a host (tests/fuzz/machine), where other addresses stand here.
#pragma once

#include <cstdint>

namespace pvn {

inline constexpr std::uint64_t cpu_window = 0xffff808000000000;
inline constexpr std::uint64_t direct_map = 0xffff810000000000;

}  // namespace pvn
