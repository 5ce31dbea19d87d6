// SPDX-License-Identifier: MIT
// Each CPU watches the next one: a CPU that stays in the hypervisor and does not get on has an NMI sent, in which it says where it
// is and ends the machine.  A CPU in a guest or idle gets on, whatever the guest does.
#pragma once

#include <cstdint>

#include "arch/x86/registers.hpp"

namespace pvn::watchdog {

// `seconds`: how long a CPU may stay in the hypervisor; 0: nobody watches.
void initialise(std::uint64_t seconds);
void start();  // before, nobody is found to hang

std::uint64_t next_look();  // system time at which this CPU is to call look(); ~0: never
void look();                // also called by who waits for another CPU, and may be waiting for the one that hangs

}  // namespace pvn::watchdog
