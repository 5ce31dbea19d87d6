// SPDX-License-Identifier: MIT
// The full audit of the frame table against all page tables, on demand.
#pragma once

#include <cstdint>

namespace pvn::audit {

// Number of discrepancies; each is logged.  ~0: too little memory to do it.
std::uint64_t run();

}  // namespace pvn::audit
