// SPDX-License-Identifier: MIT
// A guest's local descriptor table: a checked copy, shown read-only in the slot while its vCPU is on the CPU.
//
// A copy, and not the guest's own pages typed `segment`: those would have to be read-only in every mapping that the guest has of
// them, its direct map included, and every write would be a hypercall.  Copied, a guest keeps its table in ordinary memory and says
// when it has changed.  The price is memory of the hypervisor's, at most 16 frames for each vCPU, and the copy itself.
#pragma once

#include <cstdint>

#include "domain/vcpu.hpp"
#include "lib/result.hpp"

namespace pvn::ldt {

inline constexpr std::uint64_t most_entries = 8192;

// Replaces the table of the running vCPU by `entries` descriptors at `address` of its memory; 0, 0: none.
// invalid: alignment or number; no_memory; bad_address; invalid: a descriptor that a guest may not have.  Nothing has changed then.
// `breathe` is called now and then, with no lock held, and may let interrupts in.
Result<void> set(Vcpu&, std::uint64_t address, std::uint64_t entries, void (*breathe)());
// This CPU uses that vCPU's table from now on.  The hypervisor root is loaded.
void load(Vcpu const&);
// Gives the memory back; no CPU uses the table.
void free(Vcpu&);
// The descriptor that a selector with the table bit names; 0 if it is outside the table.
std::uint64_t descriptor(Vcpu const&, std::uint64_t selector);

}  // namespace pvn::ldt
