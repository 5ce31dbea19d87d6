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
void interrupt(std::uint32_t apic_id);  // that CPU leaves its guest, or stops waiting
void send_nmi(std::uint32_t apic_id);
void stop_others();                     // for good: INIT to all but this CPU
void send_init(std::uint32_t apic_id);
void send_start_up(std::uint32_t apic_id, std::uint8_t page);

}  // namespace pvn::local_apic
