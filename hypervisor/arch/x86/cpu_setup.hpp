// SPDX-License-Identifier: MIT
// Brings this CPU into the state that the design needs, and switches what a guest sees of it.
#pragma once

#include <cstdint>

#include "lib/id.hpp"

namespace pvn {

struct PerCpu;
struct Vcpu;

namespace cpu {
// Refuses, with a message, a CPU without what Paravane needs.
void check_features();
// Makes what a further CPU needs: roots, slot, GDT, IDT, TSS, stacks.
PerCpu& prepare(std::uint32_t apic_id);
// This CPU becomes that one: roots, tables, SYSCALL, control registers.
void activate(PerCpu&);
// The slot shows `vcpu` and its domain from now on; its root, FPU, bases and descriptors are loaded.
void load(Vcpu&);
void save(Vcpu&);
void set_descriptor(unsigned index, std::uint64_t value);
std::uint64_t allowed_xcr0();
bool has_tsc_aux();
}  // namespace cpu

}  // namespace pvn
