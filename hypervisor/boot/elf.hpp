// SPDX-License-Identifier: MIT
// Reads a guest kernel's ELF64 image.  The file is hostile: every offset and size is checked before it is used.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace pvn::boot {

struct Segment {
    std::uint64_t physical, file_size, memory_size, offset;
};

struct KernelImage {
    std::array<Segment, 16> segments;
    std::size_t segment_count;
    std::uint64_t entry, virtual_base, abi;          // from the notes
    std::optional<std::uint64_t> direct_map_base;
    std::uint64_t features;
    std::uint64_t lowest, highest;                   // physical, of all segments; page aligned outwards
};

// The image, or what is wrong with it.
struct Reading {
    KernelImage image;
    std::string_view error;  // empty: none
};
Reading read_kernel(std::span<std::byte const> file);

}  // namespace pvn::boot
