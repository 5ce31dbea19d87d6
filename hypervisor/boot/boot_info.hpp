// SPDX-License-Identifier: MIT
// What the boot loader told us, in one form for Multiboot 1 and 2.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace pvn::boot {

enum class MemoryType : std::uint32_t { ram = 1, reserved = 2, acpi = 3, nvs = 4, bad = 5 };

struct MemoryRange {
    std::uint64_t base, length;  // bytes
    MemoryType type;
};

struct Module {
    std::uint64_t base, size;  // physical, bytes
    std::array<char, 512> command_line;
    std::string_view text() const { return command_line.data(); }
};

struct BootInfo {
    std::array<MemoryRange, 64> map;
    std::size_t map_entries;
    std::array<Module, 8> modules;
    std::size_t module_count;
    std::array<char, 512> command_line;
    std::uint64_t rsdp;  // physical; 0: not told
    std::span<MemoryRange const> memory() const { return {map.data(), map_entries}; }
    std::string_view text() const { return command_line.data(); }
};

inline constexpr std::uint32_t multiboot1_magic = 0x2badb002, multiboot2_magic = 0x36d76289;

// Reads the loader's structures through `physical`, which gives the bytes of a physical range or an empty span.
// False: not from a Multiboot loader, or without a memory map.
using PhysicalReader = std::span<std::byte const> (*)(std::uint64_t address, std::uint64_t size);
bool read(std::uint32_t magic, std::uint64_t information, PhysicalReader physical, BootInfo& to);

// RAM from `end` on is left out; returns how much that was, in bytes.
std::uint64_t cut_memory(BootInfo&, std::uint64_t end);

// The value of `key=value` among the space-separated words of a command line; empty if it is not there.
std::string_view option(std::string_view command_line, std::string_view key);
// The same as a number of bytes with an optional suffix K, M or G; `otherwise` if it is not there or not a number.
std::uint64_t size_option(std::string_view command_line, std::string_view key, std::uint64_t otherwise);
bool flag(std::string_view command_line, std::string_view word);

}  // namespace pvn::boot
