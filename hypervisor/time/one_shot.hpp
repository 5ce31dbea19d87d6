// SPDX-License-Identifier: MIT
// What is known of a CPU's one-shot timer without asking it.
#pragma once

#include <cstdint>

namespace pvn {

// To program a timer is dear, above all where this machine is a guest itself, and mostly the deadline only moves away: whoever runs
// gives way to another long before its slice ends.  So an interrupt that comes too early is let come; whoever takes it asks for the rest.
struct OneShot {
    std::uint64_t due;  // system time; 0: no interrupt is on its way

    bool comes_by(std::uint64_t deadline) const { return due != 0 && due <= deadline; }
    void programmed(std::uint64_t at) { due = at; }
    void came() { due = 0; }
};

}  // namespace pvn
