// SPDX-License-Identifier: MIT
#pragma once

#include "emulate/page_table_store.hpp"

namespace pvn::emulate {

// For `pvn traps`: how often each instruction had to be emulated.  The table keeps the first 64 addresses.
void count_trap(Vcpu&, Registers const&, Instruction const&);

}  // namespace pvn::emulate
