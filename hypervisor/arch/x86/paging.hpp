// SPDX-License-Identifier: MIT
// The hypervisor's own page tables.
#pragma once

#include <cstdint>
#include <span>

#include "boot/boot_info.hpp"
#include "memory/boot_allocator.hpp"

namespace pvn::paging {

inline constexpr std::uint64_t present = 1, writable = 2, user = 4, accessed = 0x20, dirty = 0x40, large = 0x80, no_execute = 1ull << 63;
inline constexpr std::uint64_t frame_mask = 0x000ffffffffff000;
inline constexpr std::uint64_t read_only = present | accessed | no_execute, read_write = read_only | writable | dirty,
                               execute = present | accessed, table = present | writable | accessed;

// Builds the part of the hypervisor root that all CPUs share (direct map, image), and loads it.
void initialise(BootAllocator&, std::span<boot::MemoryRange const> memory);
// The same on another CPU.
void load_shared();
// A level-4 page with that part; everything else is empty.
std::uint64_t const* shared_root();

// Makes the direct map reach tables of the firmware that lie in reserved memory; at boot.
void map_firmware(std::uint64_t address, std::uint64_t size);

// Writes the leaf for `address` into the tables below `root` (physical), making tables from `allocate` as needed.
using TableAllocator = std::uint64_t (*)();  // physical address of a cleared frame
void map(std::uint64_t root, std::uint64_t address, std::uint64_t entry, TableAllocator allocate);
// The leaf's place, or null where a table is missing.
std::uint64_t* leaf(std::uint64_t root, std::uint64_t address);

}  // namespace pvn::paging
