// SPDX-License-Identifier: MIT
// I/O ports.  The CPU looks into the TSS's bitmap for ring 1 and for ring 3 alike, since IOPL is 0 ([sdm/1] 19.5.2).  So the bitmap
// in force is what the guest kernel gives to the application that runs, and nothing at first; its own accesses trap and are done for
// it (emulate/ports.hpp).  Were the domain's ports open there, every process of dom0 could drive its hardware.
#pragma once

#include <cstdint>

#include "domain/domain.hpp"
#include "lib/result.hpp"

namespace pvn::io_bitmap {

inline constexpr std::uint64_t most_bytes = 65536 / 8;

// Ring 3 of the running vCPU may use the ports whose bits are clear in `bytes` bytes at `address`, if the domain has them; 0, 0: none.
// invalid: alignment or length; no_memory; bad_address.  Nothing has changed then.
Result<void> set(Vcpu&, std::uint64_t address, std::uint64_t bytes);
// This CPU goes by that vCPU's bitmap from now on.  The guest's root has yet to be loaded.
void load(Vcpu const&);
// Gives the memory back; no CPU uses the bitmap.
void free(Vcpu&);
// The domain has all of these ports.
bool has_ports(Domain const&, unsigned first, unsigned count);

}  // namespace pvn::io_bitmap
