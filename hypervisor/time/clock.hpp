// SPDX-License-Identifier: MIT
// System time, and the one-shot timer of this CPU.
#pragma once

#include <cstdint>

#include "domain/vcpu.hpp"

namespace pvn::clock {

// Calibrates TSC and local APIC timer against the PIT.
void initialise();
std::uint64_t now();                   // ns since the start of Paravane
std::uint64_t tsc_khz();
// The wall clock at system time 0, ns since 1970: from the real-time clock, until somebody knows better.  With domains::lock.
void set_wall(std::uint64_t at_start);
void program(std::uint64_t deadline);  // an interrupt on vector::timer at that system time, or one before it; ~0: none is needed
void timer_came();                     // that interrupt: program() asks for the next
void publish(Vcpu&);                   // the vCPU page's time
void publish_wall(Domain&);            // with domains::lock

}  // namespace pvn::clock
