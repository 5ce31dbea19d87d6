// SPDX-License-Identifier: MIT
#include "arch/x86/cpu.hpp"
#include "domain/domain.hpp"
#include "machine.hpp"

namespace pvn::domains {

Result<void> set_context(Vcpu& vcpu, pvn_vcpu_context const& c)
{
    auto const in_slot = [](std::uint64_t address) { return address >= PVN_SLOT_BASE && address < PVN_SLOT_END; };
    auto& domain = *vcpu.domain;
    for (auto const address : {c.rip, c.rsp, c.fs_base, c.gs_base})
        if (!cpu::canonical(address) || in_slot(address)) return Fail{Error::invalid};
    if (c.flags != 0 || c.cs != 0 || c.ss != 0) return Fail{Error::invalid};  // starts in the guest kernel
    LockedFrames const table_lock;
    auto const root = PVN_TRY(domain.frame(c.root_pfn));
    PVN_CHECK(table_lock->take_root(domain.id, root));
    if (vcpu.root.raw() != 0) table_lock->drop_root(vcpu.root);
    vcpu.root = root;
    vcpu.loaded_on = no_cpu;
    auto& r = vcpu.registers;
    r = {};
    r.rip = c.rip, r.rsp = c.rsp, r.rax = c.rax, r.rbx = c.rbx, r.rcx = c.rcx, r.rdx = c.rdx, r.rsi = c.rsi, r.rdi = c.rdi, r.rbp = c.rbp;
    r.r8 = c.r8, r.r9 = c.r9, r.r10 = c.r10, r.r11 = c.r11, r.r12 = c.r12, r.r13 = c.r13, r.r14 = c.r14, r.r15 = c.r15;
    r.rflags = (c.rflags & flags::arithmetic) | flags::interrupt | flags::reserved_one;
    r.cs = PVN_KERNEL_CS | 1;
    r.ss = kernel_ss;
    vcpu.fs_base = c.fs_base;
    vcpu.gs_base = c.gs_base;
    return {};
}

}  // namespace pvn::domains
