// SPDX-License-Identifier: MIT
// Before a CPU joins in, its time stamp counter is compared with that of the CPU that starts it: guests read the counter without
// asking, and are told (`pvn_vcpu_time::flags`) that it is the same everywhere.
#pragma once

#include <optional>

#include "time/tsc_offset.hpp"

namespace pvn::tsc_check {

// On the CPU that starts another: what is known of the other's offset; nothing if it stopped answering for a second.
std::optional<clock::TscOffset> compare();
// On the other CPU, at the same time; returns after the last round.  A CPU that is not asked any more waits here for good.
void answer();

}  // namespace pvn::tsc_check
