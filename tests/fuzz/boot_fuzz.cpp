// SPDX-License-Identifier: MIT
// What comes from outside at boot: a guest kernel's ELF image, and a boot loader's tables.  Whatever the bytes, what is read from them lies
// within them.
#include <algorithm>
#include <cstdlib>
#include <span>

#include "boot/boot_info.hpp"
#include "boot/elf.hpp"

namespace {

using namespace pvn::boot;

void expect(bool condition)
{
    if (!condition) std::abort();
}

void read_image(std::span<std::byte const> file)
{
    auto const reading = read_kernel(file);
    if (!reading.error.empty()) return;
    auto const& image = reading.image;
    expect(image.segment_count != 0 && image.segment_count <= image.segments.size());
    expect(image.lowest < image.highest && image.lowest % 4096 == 0 && image.highest % 4096 == 0);
    for (auto const& segment : std::span{image.segments}.first(image.segment_count)) {
        expect(segment.offset <= file.size() && segment.file_size <= file.size() - segment.offset);
        expect(segment.file_size <= segment.memory_size);
        expect(image.lowest <= segment.physical && segment.physical <= image.highest && segment.memory_size <= image.highest - segment.physical);
    }
}

// The loader's memory: physical 0 to the end of the input.
std::span<std::byte const> memory;

std::span<std::byte const> physical(std::uint64_t address, std::uint64_t size)
{
    if (address > memory.size() || size > memory.size() - address) return {};
    return memory.subspan(address, size);
}

void read_tables(std::uint32_t magic, std::span<std::byte const> bytes)
{
    memory = bytes;
    static BootInfo info;
    info = {};
    if (!read(magic, 0, physical, info)) return;
    expect(info.map_entries <= info.map.size() && info.module_count <= info.modules.size());
    auto const ended = [](auto const& text) { return std::ranges::find(text, '\0') != text.end(); };
    expect(ended(info.command_line));
    for (auto const& module : std::span{info.modules}.first(info.module_count)) expect(ended(module.command_line));
    constexpr std::uint64_t end = 1 << 20;
    (void)cut_memory(info, end);
    expect(info.map_entries <= info.map.size());
    for (auto const& range : info.memory()) expect(range.type != MemoryType::ram || range.length == 0 || (range.base < end && range.length <= end - range.base));
    (void)option(info.text(), "dom0_mem");
    (void)size_option(info.text(), "dom0_mem", 1);
}

}  // namespace

// The first byte says what the others are.
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    if (size == 0) return 0;
    auto const bytes = std::as_bytes(std::span{data, size}).subspan(1);
    switch (data[0] % 3) {
    case 0: read_image(bytes); break;
    case 1: read_tables(multiboot1_magic, bytes); break;
    default: read_tables(multiboot2_magic, bytes); break;
    }
    return 0;
}
