// SPDX-License-Identifier: MIT
// The decoder of faulting page-table stores, against a disassembler: what it takes is that instruction, of that length, that writes eight
// bytes of memory; and no byte beyond the instruction makes a difference.
#include <capstone/capstone.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>

#include "decode/store.hpp"

namespace {

using namespace pvn::decode;

void expect(bool condition)
{
    if (!condition) std::abort();
}

bool same(Store const& a, Store const& b)
{
    return a.operation == b.operation && a.length == b.length && a.source == b.source && a.immediate == b.immediate;
}

x86_insn instruction_of(Operation operation)
{
    switch (operation) {
    case Operation::store: return X86_INS_MOV;
    case Operation::exchange: return X86_INS_XCHG;
    case Operation::compare_exchange: return X86_INS_CMPXCHG;
    case Operation::bit_set: return X86_INS_BTS;
    case Operation::bit_reset: return X86_INS_BTR;
    case Operation::bit_complement: return X86_INS_BTC;
    case Operation::bitwise_and: return X86_INS_AND;
    case Operation::bitwise_or: return X86_INS_OR;
    case Operation::bitwise_xor: return X86_INS_XOR;
    }
    std::abort();
}

x86_reg register_of(std::int8_t number)
{
    static constexpr x86_reg registers[] = {X86_REG_RAX, X86_REG_RCX, X86_REG_RDX, X86_REG_RBX, X86_REG_RSP, X86_REG_RBP, X86_REG_RSI, X86_REG_RDI,
                                            X86_REG_R8,  X86_REG_R9,  X86_REG_R10, X86_REG_R11, X86_REG_R12, X86_REG_R13, X86_REG_R14, X86_REG_R15};
    expect(number < 16);
    return registers[number];
}

csh disassembler()
{
    static csh const handle = [] {
        csh made;
        expect(cs_open(CS_ARCH_X86, CS_MODE_64, &made) == CS_ERR_OK && cs_option(made, CS_OPT_DETAIL, CS_OPT_ON) == CS_ERR_OK);
        return made;
    }();
    return handle;
}

void check(Store const& store, std::span<std::uint8_t const> bytes)
{
    cs_insn* instruction = nullptr;
    expect(cs_disasm(disassembler(), bytes.data(), bytes.size(), 0, 1, &instruction) == 1);
    auto const& x86 = instruction->detail->x86;
    auto const kind = instruction->id == X86_INS_MOVABS ? unsigned{X86_INS_MOV} : instruction->id;
    expect(instruction->size == store.length && kind == instruction_of(store.operation) && x86.op_count == 2);
    // An exchange may name the register first.
    auto const memory = x86.operands[0].type == X86_OP_MEM ? 0 : 1;
    auto const& source = x86.operands[1 - memory];
    expect(x86.operands[memory].type == X86_OP_MEM && x86.operands[memory].size == 8 && (memory == 0 || store.operation == Operation::exchange));
    if (store.source >= 0) {
        expect(source.type == X86_OP_REG && source.reg == register_of(store.source));
    } else {
        expect(source.type == X86_OP_IMM);
        auto const value = static_cast<std::uint64_t>(source.imm);
        bool const bit = store.operation == Operation::bit_set || store.operation == Operation::bit_reset || store.operation == Operation::bit_complement;
        expect(bit ? value % 64 == store.immediate % 64 : value == store.immediate);
    }
    cs_free(instruction, 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    constexpr std::size_t longest = 15;
    auto const bytes = std::span{data, std::min(size, longest)};
    auto const decoded = store(bytes);
    if (!decoded) return 0;
    expect(decoded->length != 0 && decoded->length <= bytes.size());
    check(*decoded, bytes);
    // The instruction alone is the same; less is none.
    auto const exact = store(bytes.first(decoded->length));
    expect(exact && same(*exact, *decoded));
    for (std::size_t less = 0; less < decoded->length; ++less) expect(!store(bytes.first(less)));
    std::array<std::uint8_t, longest> other;
    other.fill(0x5a);
    std::ranges::copy(bytes.first(decoded->length), other.begin());
    auto const followed = store(other);
    expect(followed && same(*followed, *decoded));
    return 0;
}
