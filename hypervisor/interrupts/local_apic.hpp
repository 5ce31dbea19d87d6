// SPDX-License-Identifier: MIT
// The local APIC of this CPU.  [sdm/3] 11
#pragma once

#include <cstdint>

namespace pvn::local_apic {

void initialise();
void end_of_interrupt();
void start_timer(std::uint32_t count);  // one shot, divided by 1; 0 stops it
std::uint32_t timer_count();
std::uint32_t id();

}  // namespace pvn::local_apic
