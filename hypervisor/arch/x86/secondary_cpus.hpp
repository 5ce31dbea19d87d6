// SPDX-License-Identifier: MIT
// The CPUs beside the one that booted.
#pragma once

#include <cstdint>

#include "lib/id.hpp"

namespace pvn::secondary_cpus {

// Real-mode code goes here; not for guests.
inline constexpr MachineFrame trampoline{8};

// Starts those that the firmware names, at most `limit` CPUs in all, one after the other.  They wait to be released.
void start(std::uint32_t limit);
// Each enters schedule::run().
void release();

}  // namespace pvn::secondary_cpus
