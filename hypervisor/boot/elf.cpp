// SPDX-License-Identifier: MIT
#include "boot/elf.hpp"

#include <elf.h>

#include <algorithm>
#include <cstring>

#include "paravane/hypercall.h"

namespace pvn::boot {
namespace {

template <class T>
bool read(std::span<std::byte const> bytes, std::uint64_t offset, T& to)
{
    if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return false;
    std::memcpy(&to, bytes.data() + offset, sizeof(T));
    return true;
}

constexpr std::uint64_t align4(std::uint64_t n) { return (n + 3) & ~std::uint64_t{3}; }

struct Notes {
    std::optional<std::uint64_t> abi, entry, virtual_base, direct_map, features;
};

void read_notes(std::span<std::byte const> notes, Notes& to)
{
    Elf64_Nhdr header;
    for (std::uint64_t at = 0; read(notes, at, header);) {
        auto const name_at = at + sizeof header;
        auto const value_at = name_at + align4(header.n_namesz);
        std::uint64_t value = 0;
        bool const ours = header.n_namesz == sizeof PVN_NOTE_OWNER && header.n_descsz == 8 && name_at + sizeof PVN_NOTE_OWNER <= notes.size() &&
                          std::memcmp(notes.data() + name_at, PVN_NOTE_OWNER, sizeof PVN_NOTE_OWNER) == 0 && read(notes, value_at, value);
        if (ours) {
            if (header.n_type == PVN_NOTE_ABI) to.abi = value;
            if (header.n_type == PVN_NOTE_ENTRY) to.entry = value;
            if (header.n_type == PVN_NOTE_VIRTUAL_BASE) to.virtual_base = value;
            if (header.n_type == PVN_NOTE_DIRECT_MAP) to.direct_map = value;
            if (header.n_type == PVN_NOTE_FEATURES) to.features = value;
        }
        at = value_at + align4(header.n_descsz);
    }
}

constexpr bool in_slot(std::uint64_t address) { return address >> 39 == PVN_SLOT_BASE >> 39; }
// 48-bit addresses: [sdm/1] 3.3.7.1
constexpr bool canonical(std::uint64_t address) { return address >> 47 == 0 || address >> 47 == 0x1ffff; }

}  // namespace

Reading read_kernel(std::span<std::byte const> file)
{
    Reading result{};
    auto const fail = [&](std::string_view why) {
        result.error = why;
        return result;
    };
    auto& image = result.image;
    Elf64_Ehdr header;
    if (!read(file, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return fail("not an ELF file");
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64 || header.e_ident[EI_DATA] != ELFDATA2LSB)
        return fail("not an ELF file for x86-64");
    if (header.e_phentsize != sizeof(Elf64_Phdr)) return fail("its program headers have an unknown size");

    Notes notes;
    image.lowest = ~std::uint64_t{0};
    for (unsigned i = 0; i < header.e_phnum; ++i) {
        Elf64_Phdr segment;
        if (header.e_phoff > file.size() || !read(file, header.e_phoff + i * sizeof segment, segment)) return fail("truncated: program headers");
        if (segment.p_type != PT_LOAD && segment.p_type != PT_NOTE) continue;
        if (segment.p_offset > file.size() || segment.p_filesz > file.size() - segment.p_offset) return fail("truncated: a segment");
        if (segment.p_type == PT_NOTE) {
            read_notes(file.subspan(segment.p_offset, segment.p_filesz), notes);
            continue;
        }
        if (segment.p_memsz == 0) continue;
        constexpr std::uint64_t highest_address = std::uint64_t{1} << 40;
        if (segment.p_memsz < segment.p_filesz || segment.p_paddr > highest_address || segment.p_memsz > highest_address)
            return fail("a segment with impossible addresses");
        if (image.segment_count == image.segments.size()) return fail("too many segments");
        image.segments[image.segment_count++] = {segment.p_paddr, segment.p_filesz, segment.p_memsz, segment.p_offset};
        image.lowest = std::min(image.lowest, segment.p_paddr & ~std::uint64_t{4095});
        image.highest = std::max(image.highest, (segment.p_paddr + segment.p_memsz + 4095) & ~std::uint64_t{4095});
    }
    if (image.segment_count == 0) return fail("no segment to load");
    if (!notes.abi || !notes.entry || !notes.virtual_base) return fail("no Paravane notes: not a kernel ported to Paravane");
    if (*notes.abi != PVN_ABI_VERSION) return fail("built for another version of the ABI");
    auto const base = *notes.virtual_base;
    constexpr std::uint64_t gib = 1 << 30;
    if (base % gib != 0 || !canonical(base) || !canonical(base + image.highest - 1) || in_slot(base) || in_slot(base + image.highest) || image.highest > 2 * gib)
        return fail("its VIRTUAL_BASE note does not fit");
    if (notes.direct_map && (*notes.direct_map % (512 * gib) != 0 || !canonical(*notes.direct_map) || in_slot(*notes.direct_map))) return fail("its DIRECT_MAP note does not fit");
    if (*notes.entry < base + image.lowest || *notes.entry >= base + image.highest) return fail("its entry is outside the image");
    image.entry = *notes.entry;
    image.virtual_base = base;
    image.abi = *notes.abi;
    image.direct_map_base = notes.direct_map;
    image.features = notes.features.value_or(0);
    return result;
}

}  // namespace pvn::boot
