// SPDX-License-Identifier: MIT
// Encodings: [sdm/2] 2.1 and 2.2 (prefixes, ModRM, SIB, displacement), and the pages of MOV, XCHG, CMPXCHG, BTS, BTR, BTC, AND, OR, XOR.
#include "decode/store.hpp"

namespace pvn::decode {
namespace {

class Cursor {
public:
    explicit Cursor(std::span<std::uint8_t const> bytes) : bytes_{bytes} {}
    bool more() const { return at_ < bytes_.size(); }
    std::uint8_t peek() const { return more() ? bytes_[at_] : std::uint8_t{0}; }
    std::uint8_t next()
    {
        auto const byte = peek();
        ++at_;
        return byte;
    }
    std::uint64_t immediate(unsigned size)
    {
        std::uint64_t value = 0;
        for (unsigned i = 0; i < size; ++i) value |= std::uint64_t{next()} << (8 * i);
        auto const unused = 64 - 8 * size;
        return static_cast<std::uint64_t>(static_cast<std::int64_t>(value << unused) >> unused);
    }
    void skip(unsigned count) { at_ += count; }
    std::size_t position() const { return at_; }
    bool overrun() const { return at_ > bytes_.size(); }

private:
    std::span<std::uint8_t const> bytes_;
    std::size_t at_ = 0;
};

}  // namespace

std::optional<Store> store(std::span<std::uint8_t const> bytes)
{
    Cursor c{bytes};
    // Segment overrides change nothing for us: the address is CR2's.
    constexpr std::uint8_t lock = 0xf0;
    bool locked = false;
    for (;; c.skip(1)) {
        auto const prefix = c.peek();
        locked = locked || prefix == lock;
        if (prefix != lock && prefix != 0x2e && prefix != 0x36 && prefix != 0x3e && prefix != 0x26 && prefix != 0x64 && prefix != 0x65) break;
        if (!c.more()) return std::nullopt;
    }
    auto const rex = c.next();
    if ((rex & 0xf8) != 0x48) return std::nullopt;  // REX.W
    bool const two_byte = c.peek() == 0x0f;
    if (two_byte) c.skip(1);
    auto const opcode = c.next();
    auto const modrm = c.next();
    auto const mode = modrm >> 6, field = modrm >> 3 & 7, base = modrm & 7;
    if (mode == 3) return std::nullopt;
    if (base == 4) {
        auto const sib = c.next();
        if (mode == 0 && (sib & 7) == 5) c.skip(4);
    } else if (mode == 0 && base == 5) {
        c.skip(4);
    }
    if (mode == 1) c.skip(1);
    if (mode == 2) c.skip(4);

    auto const reg = static_cast<std::int8_t>(field | (rex & 4) << 1);
    Store s{Operation::store, 0, reg, 0};
    auto const immediate = [&](Operation operation, unsigned size) {
        s.operation = operation;
        s.source = -1;
        s.immediate = c.immediate(size);
    };
    if (two_byte) {
        switch (opcode) {
        case 0xb1: s.operation = Operation::compare_exchange; break;
        case 0xab: s.operation = Operation::bit_set; break;
        case 0xb3: s.operation = Operation::bit_reset; break;
        case 0xbb: s.operation = Operation::bit_complement; break;
        case 0xba:
            if (field == 5) immediate(Operation::bit_set, 1);
            else if (field == 6) immediate(Operation::bit_reset, 1);
            else if (field == 7) immediate(Operation::bit_complement, 1);
            else return std::nullopt;
            s.immediate &= 63;
            break;
        default: return std::nullopt;
        }
    } else {
        switch (opcode) {
        case 0x89: break;
        case 0x87: s.operation = Operation::exchange; break;
        case 0x21: s.operation = Operation::bitwise_and; break;
        case 0x09: s.operation = Operation::bitwise_or; break;
        case 0x31: s.operation = Operation::bitwise_xor; break;
        case 0xc7:
            if (field != 0) return std::nullopt;
            immediate(Operation::store, 4);
            break;
        case 0x81:
        case 0x83:
            if (field == 1) immediate(Operation::bitwise_or, opcode == 0x81 ? 4 : 1);
            else if (field == 4) immediate(Operation::bitwise_and, opcode == 0x81 ? 4 : 1);
            else if (field == 6) immediate(Operation::bitwise_xor, opcode == 0x81 ? 4 : 1);
            else return std::nullopt;
            break;
        default: return std::nullopt;
        }
    }
    if (c.overrun() || c.position() > 15) return std::nullopt;
    if (locked && s.operation == Operation::store) return std::nullopt;  // #UD: [sdm/2] LOCK
    s.length = static_cast<std::uint8_t>(c.position());
    return s;
}

Effect apply(Store const& s, std::uint64_t old, std::uint64_t source, std::uint64_t rax)
{
    auto const bit = std::uint64_t{1} << (source & 63);
    bool const carry = (old & bit) != 0;
    switch (s.operation) {
    case Operation::store:
    case Operation::exchange: return {source, true, false, false};
    case Operation::compare_exchange: return {source, old == rax, false, false};
    case Operation::bit_set: return {old | bit, true, true, carry};
    case Operation::bit_reset: return {old & ~bit, true, true, carry};
    case Operation::bit_complement: return {old ^ bit, true, true, carry};
    case Operation::bitwise_and: return {old & source, true, false, false};
    case Operation::bitwise_or: return {old | source, true, false, false};
    case Operation::bitwise_xor: return {old ^ source, true, false, false};
    }
    return {old, false, false, false};
}

}  // namespace pvn::decode
