// SPDX-License-Identifier: MIT
#include "lib/kernel_code.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "lib/file.hpp"

namespace pvn::tools {

template <class T>
std::optional<T> KernelCode::read(std::uint64_t offset) const
{
    auto const bytes = part(offset, sizeof(T));
    if (bytes.empty()) return {};
    T value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

// Empty if it is not all in the file.
std::span<std::byte const> KernelCode::part(std::uint64_t offset, std::uint64_t size) const
{
    if (offset > file_.size() || size > file_.size() - offset) return {};
    return file_.subspan(offset, size);
}

std::optional<Elf64_Shdr> KernelCode::section(std::uint64_t index) const
{
    if (header_.e_shoff > file_.size() || index >= header_.e_shnum) return {};
    return read<Elf64_Shdr>(header_.e_shoff + index * sizeof(Elf64_Shdr));
}

void KernelCode::take(Elf64_Shdr const& section)
{
    if (section.sh_type == SHT_PROGBITS && (section.sh_flags & SHF_EXECINSTR) != 0) add(section.sh_addr, part(section.sh_offset, section.sh_size));
    if (section.sh_type != SHT_SYMTAB) return;
    auto const names = this->section(section.sh_link);
    if (!names) return;
    auto const text = part(names->sh_offset, names->sh_size);
    for (std::uint64_t at = 0; at + sizeof(Elf64_Sym) <= section.sh_size; at += sizeof(Elf64_Sym)) {
        if (section.sh_offset > file_.size()) return;
        auto const symbol = read<Elf64_Sym>(section.sh_offset + at);
        if (!symbol) return;
        auto const type = ELF64_ST_TYPE(symbol->st_info);
        if ((type != STT_FUNC && type != STT_NOTYPE) || symbol->st_shndx == SHN_UNDEF || symbol->st_shndx == SHN_ABS || symbol->st_name >= text.size()) continue;
        auto const* const name = reinterpret_cast<char const*>(text.data()) + symbol->st_name;
        std::string_view const whole{name, strnlen(name, text.size() - symbol->st_name)};
        if (!whole.empty()) symbols_.push_back({symbol->st_value, symbol->st_size, whole});
    }
}

void KernelCode::take_segments()
{
    if (header_.e_phoff > file_.size()) return;
    for (std::uint64_t i = 0; i < header_.e_phnum; ++i) {
        auto const segment = read<Elf64_Phdr>(header_.e_phoff + i * sizeof(Elf64_Phdr));
        if (segment && segment->p_type == PT_LOAD && (segment->p_flags & PF_X) != 0) add(segment->p_vaddr, part(segment->p_offset, segment->p_filesz));
    }
}

void KernelCode::add(std::uint64_t address, std::span<std::byte const> bytes)
{
    if (!bytes.empty()) pieces_.push_back({address, bytes});
}

KernelCode::KernelCode(std::span<std::byte const> elf) : file_{elf}
{
    auto const header = read<Elf64_Ehdr>(0);
    if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_X86_64)
        throw Problem{"not a kernel: no ELF file for x86-64"};
    header_ = *header;
    for (unsigned i = 0; i < header_.e_shnum; ++i)
        if (auto const section = this->section(i)) take(*section);
    if (pieces_.empty()) take_segments();
    std::ranges::sort(symbols_, {}, &Symbol::address);
    if (pieces_.empty()) throw Problem{"nothing in it can be executed"};
}

std::string KernelCode::place(std::uint64_t address) const
{
    auto const after = std::ranges::upper_bound(symbols_, address, {}, &Symbol::address);
    if (after == symbols_.begin()) return {};
    auto const& symbol = *std::prev(after);
    // Of a symbol without a size nobody knows how far it reaches.
    constexpr std::uint64_t guess = 4096;
    if (address - symbol.address >= (symbol.size != 0 ? symbol.size : guess)) return {};
    return fmt::format("{}+{:#x}", symbol.name, address - symbol.address);
}

}  // namespace pvn::tools
