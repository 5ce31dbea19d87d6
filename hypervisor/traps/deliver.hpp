// SPDX-License-Identifier: MIT
// Hands a trap or upcall to a guest kernel from C++; entry.S does the same for the frequent cases.
#pragma once

#include <cstdint>
#include <optional>

#include "arch/x86/registers.hpp"
#include "domain/vcpu.hpp"

namespace pvn::traps {

// `registers` become those of the guest's handler for `trap` (an index of the vCPU page's table).  A guest that has no
// handler, or no stack for the frame, ends.
void deliver(Vcpu&, Registers&, unsigned trap, std::optional<std::uint64_t> error);
// The upcall, if one is due and not masked.  Whether one was due.
bool deliver_events(Vcpu&, Registers&);
// Before a guest runs: who runs, what it has to hear of, and nothing in its registers that it may not have.  The only way to a guest.
void leave();
// Clears what no guest context may have (rule 8 of the slot).
void sanitise(Registers&);

inline constexpr bool has_error_code(std::uint64_t vector) { return vector < 32 && (0x00227d00u >> vector & 1) != 0; }

}  // namespace pvn::traps
