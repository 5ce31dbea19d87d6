// SPDX-License-Identifier: MIT
#pragma once

#include "arch/x86/registers.hpp"
#include "domain/vcpu.hpp"

namespace pvn::emulate {

// A #GP in ring 1: if it is a privileged instruction that can safely be emulated, does so, counts it, and `true`.
bool privileged_instruction(Vcpu&, Registers&);

}  // namespace pvn::emulate
