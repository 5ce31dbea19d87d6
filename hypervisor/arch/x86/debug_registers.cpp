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
    cpu::write_debug<7>(always_one);
    cpu::write_debug<0>(vcpu.debug_address[0]);
    cpu::write_debug<1>(vcpu.debug_address[1]);
    cpu::write_debug<2>(vcpu.debug_address[2]);
    cpu::write_debug<3>(vcpu.debug_address[3]);
    cpu::write_debug<6>(vcpu.debug_status);
}

}  // namespace

void disarm(Vcpu const& vcpu)
{
    if ((vcpu.debug_control & enables) != 0) cpu::write_debug<7>(always_one);
}

void arm(Vcpu const& vcpu)
{
    if ((vcpu.debug_control & enables) != 0) cpu::write_debug<7>(vcpu.debug_control);
}

void forget_hit()
{
    cpu::write_debug<6>(cpu::read_debug<6>() & ~(hit_bits | single_step));
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
    if (index == 6) return vcpu.debug_status = cpu::read_debug<6>();
    if (index == 7) return vcpu.debug_control;
    return Fail{Error::invalid};
}

}  // namespace pvn::debug_registers
