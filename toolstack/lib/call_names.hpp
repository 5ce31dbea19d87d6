// SPDX-License-Identifier: MIT
// What the numbers in a trace are called.
#pragma once

#include <cstdint>
#include <string>

namespace pvn::tools {

std::string call_name(std::uint64_t hypercall);  // "SCHED_BLOCK"; one that we do not know: its number
std::string entry_name(std::uint64_t vector);    // of PVN_TRACE_ENTER: "#PF", "interrupt 0x30", "hypercall"

}  // namespace pvn::tools
