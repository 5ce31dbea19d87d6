// SPDX-License-Identifier: MIT
// The full audit of the frame table against all page tables, on demand.
#pragma once

#include <cstdint>

#include "lib/result.hpp"

namespace pvn::audit {

// Number of discrepancies; each is logged.  In a hypercall, with no lock held: everything else in the machine stands still meanwhile,
// but for interrupts.  no_memory; again: the other CPUs could not be brought to a stand just now.
Result<std::uint64_t> run();

}  // namespace pvn::audit
