// SPDX-License-Identifier: MIT
// Port instructions of ring 1, which trap (arch/x86/io_bitmap.hpp).  A port that the domain has not reads as ones, and writes to it go
// nowhere.
#pragma once

#include <cstdint>

#include "domain/vcpu.hpp"

namespace pvn::emulate {

struct PortAccess {
    std::uint16_t port;
    unsigned width;  // bytes: 1, 2, 4
    bool input;
};

// in, out: between the port and RAX.  True: the port is the domain's own.
bool port_access(Vcpu&, Registers&, PortAccess);

// ins, outs: between the port and memory at RDI or RSI, and with a prefix as often as RCX says.
enum class StringEnd {
    done,      // the registers are as after the instruction
    continues, // as when an interrupt came in between: it is to be executed again
    refused,   // nothing has happened
};
StringEnd port_string(Vcpu&, Registers&, PortAccess, bool repeat);

}  // namespace pvn::emulate
