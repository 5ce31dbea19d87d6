// SPDX-License-Identifier: MIT
// `pvn lint`: instructions of a kernel that do not do in ring 1 what they do in ring 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pvn::tools {

enum class Verdict : std::uint8_t {
    silent,    // does something else, and nobody is told
    refused,   // #GP or #UD
    emulated,  // works, by a trap
};
std::string_view text_of(Verdict);

struct Finding {
    std::uint64_t address = 0;
    std::string place;         // symbol+offset; empty if no symbol covers it
    std::string instruction;
    Verdict verdict = Verdict::silent;
    std::string_view advice;   // what it does, and what to do instead
};

// Goes through all executable sections, or segments where an image has no sections, from front to back: data among code may be taken for code.
// Problem: no ELF file of x86-64, or nothing in it can be executed.  The bytes are hostile.
std::vector<Finding> lint(std::span<std::byte const> elf);

// The first instruction of these bytes, at that address.
std::string instruction_text(std::span<std::byte const> bytes, std::uint64_t address);

}  // namespace pvn::tools
