// SPDX-License-Identifier: MIT
// A guest's debug registers.  [sdm/3] 18.2
#pragma once

#include <cstdint>

#include "domain/vcpu.hpp"
#include "lib/result.hpp"

namespace pvn::debug_registers {

// Of the running vCPU.  Rule 9 of the slot: an address that could watch the slot is refused, and so are general detect and
// I/O breakpoints.
Result<void> write(Vcpu&, std::uint64_t index, std::uint64_t value);
// A guest's breakpoints name its own addresses, which are the hypervisor's too, in its own tables: off while it works.
void disarm(Vcpu const&);
void arm(Vcpu const&);
// A #DB is not delivered: DR6 says nothing of it.
void forget_hit();
Result<std::uint64_t> read(Vcpu&, std::uint64_t index);

}  // namespace pvn::debug_registers
