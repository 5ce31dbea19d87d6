// SPDX-License-Identifier: MIT
// Machine checks end the machine, with all that the CPU says about them.  [sdm/3] 16
#pragma once

#include "arch/x86/registers.hpp"

namespace pvn::machine_check {

bool available();
void initialise();  // of this CPU; before CR4.MCE is set
[[noreturn]] void handle(Registers const&);

}  // namespace pvn::machine_check
