// SPDX-License-Identifier: MIT
// The firmware's ACPI tables, as far as the hypervisor itself needs them: which processors there are.  [acpi] 5.2
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace pvn::acpi {

// Physical memory as bytes; an empty span where there is none.
using Reader = std::span<std::byte const> (*)(std::uint64_t address, std::uint64_t size);

struct Processors {
    std::array<std::uint32_t, 256> apic_ids{};
    std::uint32_t count = 0;
};

// The enabled processors with a local APIC id below 255, in the order of the MADT.  None if the tables are missing or damaged.
Processors find_processors(std::uint64_t rsdp, Reader);

}  // namespace pvn::acpi
