// SPDX-License-Identifier: MIT
// Privileged instructions of ring 1, so that a porter can start with little.  None of them reaches the machine's own state: control
// registers read as they must look, writes that would change nothing are swallowed, all others are the guest's #GP.
#include "emulate/privileged.hpp"

#include <algorithm>

#include "arch/x86/cpu.hpp"
#include "arch/x86/cpu_setup.hpp"
#include "arch/x86/debug_registers.hpp"
#include "arch/x86/memory_map.hpp"
#include "dispatcher/schedule.hpp"
#include "domain/domain.hpp"
#include "emulate/count.hpp"
#include "emulate/ports.hpp"
#include "machine.hpp"

namespace pvn::emulate {
namespace {

struct Context {
    Vcpu& vcpu;
    Registers& r;
    std::uint8_t const* at;     // after the prefixes
    unsigned left;              // bytes from there
    std::uint8_t rex;
    bool operand_16;
    bool repeat;
    bool counts = true;         // something that a port of a kernel could do without
    bool again = false;         // the instruction is not at its end
};

constexpr std::uint64_t shown_cr0 = 0x80050033;

std::uint64_t shown_cr4() { return cpu::read_cr4() & ~std::uint64_t{0x22040}; }  // VMXE, MCE and PCIDE are not the guest's business

std::uint64_t read_control(Vcpu& vcpu, unsigned number, bool& known)
{
    known = true;
    switch (number) {
    case 0: return shown_cr0;
    case 2: return __atomic_load_n(&vcpu.page->fault_address, __ATOMIC_RELAXED);
    case 3: return machine.m2p[vcpu.root.raw()] * page_size;
    case 4: return shown_cr4();
    case 8: return 0;
    default: known = false; return 0;
    }
}

bool write_control(Vcpu& vcpu, unsigned number, std::uint64_t value)
{
    switch (number) {
    case 0: return (value & 0x80000001) == 0x80000001;  // paging and protection stay; TS and the like mean nothing here
    case 2: __atomic_store_n(&vcpu.page->fault_address, value, __ATOMIC_RELAXED); return true;
    case 3: return value == machine.m2p[vcpu.root.raw()] * page_size;  // a flush; another root is PVN_MMU_SET_ROOT
    case 4: return true;                                // shown back as it is
    default: return false;
    }
}

// mov to and from control and debug registers: 0f 20..23 /r, always register operands
bool move_special(Context const& c)
{
    auto const opcode = c.at[1], modrm = c.at[2];
    auto const special = (modrm >> 3 & 7u) | (c.rex & 4u) << 1;
    auto& general = general_register(c.r, (modrm & 7u) | (c.rex & 1u) << 3);
    bool known = true;
    switch (opcode) {
    case 0x20: {
        auto const value = read_control(c.vcpu, special, known);
        if (known) general = value;
        return known;
    }
    case 0x22: return write_control(c.vcpu, special, general);
    case 0x21: {
        auto const value = debug_registers::read(c.vcpu, special == 4 ? 6 : special == 5 ? 7 : special);
        if (value) general = *value;
        return value.has_value();
    }
    default: return debug_registers::write(c.vcpu, special == 4 ? 6 : special == 5 ? 7 : special, general).has_value();
    }
}

bool read_msr(Context const& c)
{
    std::uint64_t value = 0;
    switch (static_cast<std::uint32_t>(c.r.rcx)) {
    case cpu::msr::fs_base: value = cpu::read_fs_base(); break;
    case 0xc0000101: value = cpu::read_gs_base(); break;
    case 0xc0000102: value = __atomic_load_n(&c.vcpu.page->user_gs_base, __ATOMIC_RELAXED); break;
    case cpu::msr::efer: value = 0xd01; break;  // NXE LMA LME SCE
    case cpu::msr::pat: value = 0x0407050600070106; break;
    case cpu::msr::tsc_aux:
        if (!cpu::has_tsc_aux()) return false;
        value = c.vcpu.tsc_aux;
        break;
    default: return false;
    }
    c.r.rax = static_cast<std::uint32_t>(value);
    c.r.rdx = value >> 32;
    return true;
}

bool write_msr(Context const& c)
{
    auto const value = (c.r.rdx << 32) | static_cast<std::uint32_t>(c.r.rax);
    if (!cpu::canonical(value)) return false;
    switch (static_cast<std::uint32_t>(c.r.rcx)) {
    case cpu::msr::fs_base: cpu::write_fs_base(value); return true;
    case 0xc0000101: cpu::write_gs_base(value); return true;
    case 0xc0000102: __atomic_store_n(&c.vcpu.page->user_gs_base, value, __ATOMIC_RELAXED); return true;
    case cpu::msr::tsc_aux:
        if (!cpu::has_tsc_aux() || value >> 32 != 0) return false;
        c.vcpu.tsc_aux = static_cast<std::uint32_t>(value);
        cpu::write_msr(cpu::msr::tsc_aux, value);
        return true;
    default: return false;
    }
}

// in, out, ins and outs have the width and the direction at the same places: bits 0 and 1 of the opcode.
PortAccess port_of(Context const& c, std::uint64_t port)
{
    auto const opcode = c.at[0];
    return {static_cast<std::uint16_t>(port), (opcode & 1) == 0 ? 1u : c.operand_16 ? 2u : 4u, (opcode & 2) == 0};
}

// Length of the instruction if it was emulated, 0 if not.
unsigned emulate_one(Context& c)
{
    if (c.left == 0) return 0;
    auto const opcode = c.at[0];
    switch (opcode) {
    case 0xf4:  // hlt
        if (__atomic_load_n(&c.vcpu.page->event_mask, __ATOMIC_RELAXED) == 0 && __atomic_load_n(&c.vcpu.page->event_pending, __ATOMIC_RELAXED) == 0)
            schedule::block(c.vcpu);
        return 1;
    case 0xfa: __atomic_store_n(&c.vcpu.page->event_mask, std::uint8_t{1}, __ATOMIC_RELAXED); return 1;  // cli
    case 0xfb: __atomic_store_n(&c.vcpu.page->event_mask, std::uint8_t{0}, __ATOMIC_RELAXED); return 1;  // sti
    case 0xe4: case 0xe5: case 0xe6: case 0xe7:
        if (c.left < 2) return 0;
        c.counts = !port_access(c.vcpu, c.r, port_of(c, c.at[1]));
        return 2;
    case 0xec: case 0xed: case 0xee: case 0xef:
        c.counts = !port_access(c.vcpu, c.r, port_of(c, c.r.rdx));
        return 1;
    case 0x6c: case 0x6d: case 0x6e: case 0x6f: {
        auto const end = port_string(c.vcpu, c.r, port_of(c, c.r.rdx), c.repeat);
        if (end == StringEnd::refused) return 0;
        c.counts = false;
        c.again = end == StringEnd::continues;
        return 1;
    }
    case 0x0f: break;
    default: return 0;
    }
    if (c.left < 2) return 0;
    switch (c.at[1]) {
    case 0x06: return 2;              // clts: no task switch bit here
    case 0x08: case 0x09:             // invd, wbinvd: memory is coherent for whoever drives no device
        if (c.vcpu.domain->privileged) asm volatile("wbinvd" : : : "memory");
        return 2;
    case 0x20: case 0x21: case 0x22: case 0x23: return c.left >= 3 && move_special(c) ? 3 : 0;
    case 0x30: return write_msr(c) ? 2 : 0;
    case 0x32: return read_msr(c) ? 2 : 0;
    case 0x01: {
        if (c.left < 3) return 0;
        auto const modrm = c.at[2];
        if (modrm == 0xd1) {  // xsetbv
            auto const value = (c.r.rdx << 32) | static_cast<std::uint32_t>(c.r.rax);
            return static_cast<std::uint32_t>(c.r.rcx) == 0 && value == cpu::allowed_xcr0() ? 3 : 0;
        }
        if (modrm == 0xf8) {  // swapgs
            auto const base = cpu::read_gs_base();
            auto const other = __atomic_load_n(&c.vcpu.page->user_gs_base, __ATOMIC_RELAXED);
            if (!cpu::canonical(other)) return 0;
            cpu::write_gs_base(other);
            __atomic_store_n(&c.vcpu.page->user_gs_base, base, __ATOMIC_RELAXED);
            return 3;
        }
        // invlpg m: /7 with a memory operand; leaving for the guest flushes everything
        if ((modrm >> 3 & 7) == 7 && modrm >> 6 != 3) {
            auto const mode = modrm >> 6, base = modrm & 7;
            unsigned length = 3;
            if (base == 4) {
                if (c.left < 4) return 0;
                length += 1 + (mode == 0 && (c.at[3] & 7) == 5 ? 4u : 0u);
            } else if (mode == 0 && base == 5)
                length += 4;
            return length + (mode == 1 ? 1u : mode == 2 ? 4u : 0u);
        }
        return 0;
    }
    default: return 0;
    }
}

}  // namespace

void count_trap(Vcpu& vcpu, Registers const& r, Instruction const& instruction)
{
    ++vcpu.emulated;
    for (auto& trap : vcpu.domain->traps) {
        if (trap.count != 0 && trap.rip != r.rip) continue;
        if (trap.count == 0) {
            trap.rip = r.rip;
            std::copy_n(instruction.bytes, instruction.count, trap.bytes.begin());
        }
        ++trap.count;
        return;
    }
}

bool privileged_instruction(Vcpu& vcpu, Registers& r)
{
    auto const instruction = fetch(vcpu, r);
    Context c{vcpu, r, instruction.bytes, instruction.count, 0, false, false};
    for (; c.left != 0; ++c.at, --c.left) {
        if (*c.at == 0x66) c.operand_16 = true;
        else if (*c.at == 0xf2 || *c.at == 0xf3) c.repeat = true;
        else if ((*c.at & 0xf0) == 0x40) c.rex = *c.at;
        else break;
    }
    if (c.repeat && (c.left == 0 || (c.at[0] & 0xfc) != 0x6c)) return false;
    auto const before = r;
    auto const length = emulate_one(c);
    if (length == 0 || length > c.left) {
        return false;
    }
    if (c.counts) count_trap(vcpu, before, instruction);
    if (!c.again) r.rip += static_cast<std::uint64_t>(c.at - instruction.bytes) + length;
    return true;
}

}  // namespace pvn::emulate
