// SPDX-License-Identifier: MIT
// Decodes the 8-byte stores and locked operations that kernels use on page-table entries.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace pvn::decode {

enum class Operation : std::uint8_t { store, exchange, compare_exchange, bit_set, bit_reset, bit_complement, bitwise_and, bitwise_or, bitwise_xor };

struct Store {
    Operation operation;
    std::uint8_t length;       // bytes of the instruction
    std::int8_t source;        // register number (0 RAX .. 15 R15); -1: `immediate`
    std::uint64_t immediate;   // sign-extended; for bit operations: the bit's number
};

// Only forms with REX.W and a memory operand; nothing else is any.  `bytes`: a private copy of at most 15 bytes.
std::optional<Store> store(std::span<std::uint8_t const> bytes);

struct Effect {
    std::uint64_t value;       // to be stored
    bool write;                // false: a compare-exchange that fails
    bool carry_written, carry; // bit operations: CF is the old bit
};

// What the operation makes of `old`, given the source operand and (compare-exchange) RAX.
Effect apply(Store const&, std::uint64_t old, std::uint64_t source, std::uint64_t rax);

}  // namespace pvn::decode
