// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "arch/x86/registers.hpp"
#include "domain/vcpu.hpp"

namespace pvn::emulate {

// A ring-1 write to a read-only page: if it is a store to one of the domain's page tables, it is checked and done like an
// update, and `true`.  Anything else is the guest's own fault.
bool page_table_store(Vcpu&, Registers&, std::uint64_t address);

// Register `number` (0 RAX .. 15 R15) of a context.
std::uint64_t& general_register(Registers&, unsigned number);
// The bytes at RIP, as many as can be read.
struct Instruction {
    std::uint8_t bytes[15];
    unsigned count;
};
Instruction fetch(Vcpu const&, Registers const&);

}  // namespace pvn::emulate
