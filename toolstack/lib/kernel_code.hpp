// SPDX-License-Identifier: MIT
// What a kernel's ELF file says of its code: where it is, and the symbols that name its places.
#pragma once

#include <cstddef>
#include <cstdint>
#include <elf.h>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pvn::tools {

class KernelCode {
public:
    struct Piece {
        std::uint64_t address;
        std::span<std::byte const> bytes;
    };

    // All executable sections, or segments where an image has no sections.  The bytes are hostile, and must outlive this.
    // Problem: no ELF file for x86-64, or nothing in it can be executed.
    explicit KernelCode(std::span<std::byte const> elf);

    std::vector<Piece> const& pieces() const { return pieces_; }
    // symbol+offset; empty if no symbol covers it.
    std::string place(std::uint64_t address) const;

private:
    struct Symbol {
        std::uint64_t address, size;
        std::string_view name;
    };

    template <class T>
    std::optional<T> read(std::uint64_t offset) const;
    std::span<std::byte const> part(std::uint64_t offset, std::uint64_t size) const;
    std::optional<Elf64_Shdr> section(std::uint64_t index) const;
    void take(Elf64_Shdr const& section);
    void take_segments();
    void add(std::uint64_t address, std::span<std::byte const> bytes);

    std::span<std::byte const> file_;
    Elf64_Ehdr header_{};
    std::vector<Piece> pieces_;
    std::vector<Symbol> symbols_;
};

}  // namespace pvn::tools
