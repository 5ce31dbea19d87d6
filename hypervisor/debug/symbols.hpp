// SPDX-License-Identifier: MIT
// Where the hypervisor is, by name.
#pragma once

#include <cstdint>

namespace pvn::debug {

// Logs "  NAME + OFFSET" for an address of the hypervisor's code, or the bare address.
void log_address(std::uint64_t address);
// Logs who called whom, from this frame pointer on; frames outside this CPU's stack end it.
void log_backtrace(std::uint64_t frame_pointer);

}  // namespace pvn::debug
