// SPDX-License-Identifier: MIT
// Device interrupts: vectors, I/O APIC pins, message-signalled ones, and the events that they become.
#pragma once

#include <cstdint>

#include "lib/id.hpp"
#include "lib/result.hpp"
#include "paravane/hypercall.h"

namespace pvn {

struct Domain;

namespace interrupts {

void silence_legacy();          // both 8259s masked; before the local APIC stops listening to them
void initialise_cpu();          // this CPU's local APIC, and its window on the I/O APIC
void initialise();              // I/O APIC found and masked
void handle(std::uint64_t vector);

// dom0's requests (paravane/hypercall.h, phys).  An irq is a number that names a vector of the machine.
Result<std::uint32_t> map_gsi(std::uint32_t gsi, std::uint32_t flags);
Result<std::uint32_t> map_msi(pvn_phys_msi& message);
Result<void> unmap(std::uint32_t irq);
Result<void> end(std::uint32_t irq);
Result<void> bind(std::uint32_t irq, Domain& domain, Port port);  // its event; Port{0}: none
Result<std::uint32_t> io_apic_read(std::uint64_t base, std::uint32_t index);

}  // namespace interrupts
}  // namespace pvn
