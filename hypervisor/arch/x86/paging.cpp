// SPDX-License-Identifier: MIT
#include "arch/x86/paging.hpp"

#include <algorithm>
#include <cstring>

#include "arch/x86/cpu.hpp"
#include "arch/x86/memory_map.hpp"
#include "machine.hpp"

extern "C" char text_start[], text_end[], rodata_end[], image_end[];

namespace pvn::paging {
namespace {

constexpr std::uint64_t two_mib = 2 << 20;

constinit BootAllocator* boot_allocator = nullptr;
constinit std::uint64_t root = 0;
// Until the direct map is there, tables are reached through the boot tables' first GiB.
constinit std::uint64_t window = image_base;

std::uint64_t* table_at(std::uint64_t physical) { return reinterpret_cast<std::uint64_t*>(window + physical); }

std::uint64_t boot_table()
{
    auto const physical = boot_allocator->allocate(page_size);
    std::memset(table_at(physical), 0, page_size);
    return physical;
}

// The entry for `address` at `level` (1: leaf).
std::uint64_t* entry_at(std::uint64_t top, std::uint64_t address, unsigned level, TableAllocator allocate)
{
    auto physical = top;
    for (unsigned l = 4; l > level; --l) {
        auto& entry = table_at(physical)[address >> (3 + 9 * l) & 511];
        if ((entry & present) == 0) {
            if (allocate == nullptr) return nullptr;
            entry = allocate() | table;
        }
        physical = entry & frame_mask;
    }
    return &table_at(physical)[address >> (3 + 9 * level) & 511];
}

}  // namespace

void map(std::uint64_t top, std::uint64_t address, std::uint64_t entry, TableAllocator allocate)
{
    *entry_at(top, address, 1, allocate) = entry;
}

std::uint64_t* leaf(std::uint64_t top, std::uint64_t address) { return entry_at(top, address, 1, nullptr); }

void load_shared() { cpu::write_cr3(root); }

std::uint64_t const* shared_root() { return table_at(root); }

void initialise(BootAllocator& allocator, std::span<boot::MemoryRange const> memory)
{
    boot_allocator = &allocator;
    root = boot_table();

    // RAM, ACPI tables and what the firmware keeps below 1 MiB; devices are mapped where they are used.
    auto const map_range = [](std::uint64_t from, std::uint64_t to) {
        for (auto at = from & ~(two_mib - 1); at < to; at += two_mib)
            *entry_at(root, direct_map + at, 2, boot_table) = at | read_write | large;
    };
    map_range(0, two_mib);
    for (auto const& range : memory)
        if (range.type == boot::MemoryType::ram || range.type == boot::MemoryType::acpi || range.type == boot::MemoryType::nvs)
            map_range(range.base, range.base + range.length);

    auto const image = [](char const* from, char const* to, std::uint64_t protection) {
        for (auto at = reinterpret_cast<std::uint64_t>(from); at < reinterpret_cast<std::uint64_t>(to); at += page_size)
            map(root, at, (at - image_base) | protection, boot_table);
    };
    image(text_start, text_end, execute);
    image(text_end, rodata_end, read_only);
    image(rodata_end, image_end, read_write);

    // The boot stack and code are in the image, at the same addresses as under the boot tables.
    cpu::write_cr3(root);
    window = direct_map;
}

void map_firmware(std::uint64_t address, std::uint64_t size)
{
    for (auto at = address & ~(two_mib - 1); at < address + size; at += two_mib) {
        auto& entry = *entry_at(root, direct_map + at, 2, allocate_own_frame);
        if (entry == 0) entry = at | read_only | large;
    }
}

}  // namespace pvn::paging
