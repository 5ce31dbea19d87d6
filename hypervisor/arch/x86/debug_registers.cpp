// SPDX-License-Identifier: MIT
#include "arch/x86/debug_registers.hpp"

#include "arch/x86/cpu.hpp"
#include "paravane/slot.h"

namespace pvn::debug_registers {
namespace {

constexpr std::uint64_t enables = 0xff, general_detect = 1 << 13, always_one = 1 << 10, control_bits = 0xffff03ff;
constexpr std::uint64_t hit_bits = 0xf, single_step = 1 << 14;  // of DR6

void load(Vcpu const& vcpu)
{
    asm volatile("mov %0, %%dr7" : : "r"(always_one));
    asm volatile("mov %0, %%dr0; mov %1, %%dr1; mov %2, %%dr2; mov %3, %%dr3" : : "r"(vcpu.debug_address[0]), "r"(vcpu.debug_address[1]),
                 "r"(vcpu.debug_address[2]), "r"(vcpu.debug_address[3]));
    asm volatile("mov %0, %%dr6" : : "r"(vcpu.debug_status));
}

}  // namespace

void disarm(Vcpu const& vcpu)
{
    if ((vcpu.debug_control & enables) != 0) asm volatile("mov %0, %%dr7" : : "r"(always_one));
}

void arm(Vcpu const& vcpu)
{
    if ((vcpu.debug_control & enables) != 0) asm volatile("mov %0, %%dr7" : : "r"(vcpu.debug_control));
}

void forget_hit()
{
    std::uint64_t status;
    asm volatile("mov %%dr6, %0" : "=r"(status));
    asm volatile("mov %0, %%dr6" : : "r"(status & ~(hit_bits | single_step)));
}

Result<void> write(Vcpu& vcpu, std::uint64_t index, std::uint64_t value)
{
    switch (index) {
    case 0: case 1: case 2: case 3:
        // A breakpoint covers up to 8 bytes, aligned.
        if (!cpu::canonical(value) || (value >= PVN_SLOT_BASE && value < PVN_SLOT_END)) return Fail{Error::invalid};
        vcpu.debug_address[index] = value;
        break;
    case 6:
        if (value >> 32 != 0) return Fail{Error::invalid};
        vcpu.debug_status = (value & 0xe00f) | 0xffff0ff0;
        break;
    case 7: {
        if ((value & ~(control_bits | always_one)) != 0 || (value & general_detect) != 0) return Fail{Error::invalid};
        for (unsigned i = 0; i < 4; ++i)
            if ((value >> (2 * i) & 3) != 0 && (value >> (16 + 4 * i) & 3) == 2) return Fail{Error::invalid};  // I/O
        vcpu.debug_control = value | always_one;
        break;
    }
    default: return Fail{Error::invalid};
    }
    load(vcpu);
    return {};
}

Result<std::uint64_t> read(Vcpu& vcpu, std::uint64_t index)
{
    if (index < 4) return vcpu.debug_address[index];
    if (index == 6) {
        std::uint64_t status;
        asm volatile("mov %%dr6, %0" : "=r"(status));
        return vcpu.debug_status = status;
    }
    if (index == 7) return vcpu.debug_control;
    return Fail{Error::invalid};
}

}  // namespace pvn::debug_registers
