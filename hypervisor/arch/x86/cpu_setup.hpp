// SPDX-License-Identifier: MIT
// Brings this CPU into the state that the design needs, and switches what a guest sees of it.
#pragma once

#include <cstdint>

#include "lib/id.hpp"

namespace pvn {

struct Vcpu;

namespace cpu {
// Refuses, with a message, a CPU without what Paravane needs.
void check_features();
// Roots, slot, GDT, IDT, TSS, SYSCALL, control registers of this CPU.
void initialise_this(std::uint32_t id);
// The slot shows `vcpu` and its domain from now on; its root, FPU, bases and descriptors are loaded.
void load(Vcpu&);
void save(Vcpu&);
// Copies the entries of `vcpu`'s level-4 table into this CPU's guest root.
void load_root(MachineFrame l4);
void set_descriptor(unsigned index, std::uint64_t value);
std::uint64_t allowed_xcr0();
}  // namespace cpu

}  // namespace pvn
