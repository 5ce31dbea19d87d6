// SPDX-License-Identifier: MIT
#include "lib/kernel_file.hpp"

#include <elf.h>
#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <optional>

#include "lib/decompress.hpp"

namespace pvn::tools {
namespace {

constexpr std::size_t most_unpacked = 512 << 20;

template <class T>
T field(std::span<std::byte const> file, std::size_t offset)
{
    T value;
    std::memcpy(&value, file.data() + offset, sizeof value);
    return value;
}

bool is_elf(std::span<std::byte const> file) { return file.size() >= SELFMAG && std::memcmp(file.data(), ELFMAG, SELFMAG) == 0; }

// The set-up header of a bzImage; all offsets from the start of the file.  Linux: Documentation/arch/x86/boot.rst
constexpr std::size_t setup_sectors_at = 0x1f1, boot_flag_at = 0x1fe, magic_at = 0x202, version_at = 0x206, payload_offset_at = 0x248,
                      payload_length_at = 0x24c, header_end = 0x250;

// What a bzImage carries; nothing: it is not one.
std::optional<std::span<std::byte const>> payload(std::span<std::byte const> file)
{
    if (file.size() < header_end || field<std::uint16_t>(file, boot_flag_at) != 0xaa55 || std::memcmp(file.data() + magic_at, "HdrS", 4) != 0) return {};
    auto const version = field<std::uint16_t>(file, version_at);
    if (version < 0x208) throw Problem{fmt::format("its boot protocol {}.{:02} is too old: it does not say where the kernel is", version >> 8, version & 255)};
    auto const sectors = field<std::uint8_t>(file, setup_sectors_at);
    std::uint64_t const start = (std::uint64_t{sectors == 0 ? std::uint8_t{4} : sectors} + 1) * 512 + field<std::uint32_t>(file, payload_offset_at);
    std::uint64_t const length = field<std::uint32_t>(file, payload_length_at);
    if (start > file.size() || length > file.size() - start)
        throw Problem{fmt::format("truncated: the kernel in it ends at byte {}, the file at byte {}", start + length, file.size())};
    return file.subspan(start, length);
}

}  // namespace

Unpacked unpack_kernel(std::span<std::byte const> file)
{
    auto inner = file;
    if (auto const carried = payload(file)) inner = *carried;
    if (is_elf(inner)) return {{}, inner};
    if (packed_with(inner).empty()) throw Problem{"not a kernel: neither ELF nor a bzImage, nor one packed with gzip, xz, zstd or lz4"};
    Unpacked result{decompress(inner, most_unpacked), {}};
    if (!is_elf(result.own)) throw Problem{"not a kernel: what is packed in it is no ELF file"};
    result.elf = result.own;
    return result;
}

KernelFile::KernelFile(std::string const& name) : file_{name}
{
    try {
        unpacked_ = unpack_kernel(file_.bytes());
    } catch (Problem const& problem) {
        throw Problem{fmt::format("{}: {}", name, problem.what())};
    }
    auto const reading = boot::read_kernel(unpacked_.elf);
    if (!reading.error.empty()) throw Problem{fmt::format("{}: {}", name, reading.error)};
    image_ = reading.image;
}

}  // namespace pvn::tools
