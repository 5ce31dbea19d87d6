// SPDX-License-Identifier: MIT
#include "arch/x86/vdso.hpp"

#include "arch/x86/cpu.hpp"
#include "arch/x86/slot_addresses.hpp"
#include "domain/domain.hpp"
#include "guest/access.hpp"

namespace pvn::vdso {
namespace {

struct Frame {
    std::uint64_t rip, cs, rflags, rsp, ss;
};

}  // namespace

bool returning(Registers const& r)
{
    return !r.from_user() && r.rip >= slot_addresses.vdso_kernel_unmasked && r.rip < slot_addresses.vdso_return_end;
}

bool user_gs_loaded(Registers const& r)
{
    return !r.from_user() && (r.rip == slot_addresses.vdso_user_restored || r.rip == slot_addresses.vdso_user_iretq);
}

// Between `push %rax` and `pop %rax`, or at the `int` after it, RAX lies below the frame.
static bool rax_saved(Registers const& r) { return r.rip >= slot_addresses.vdso_user_saved && r.rip != slot_addresses.vdso_user_iretq; }

std::uint64_t frame_address(Registers const& r) { return r.rsp + (rax_saved(r) ? 8 : 0); }

bool finish_return(Vcpu& vcpu, Registers& r)
{
    if (!returning(r)) return true;
    auto const frame = GuestIn<Frame>{vcpu, frame_address(r)}.read();
    auto const rax = rax_saved(r) ? GuestIn<std::uint64_t>{vcpu, r.rsp}.read() : Result<std::uint64_t>{r.rax};
    if (!frame || !rax || !cpu::canonical(frame->rip)) return false;

    bool const user = (frame->cs & 3) == 3;
    if (user) {
        // RPL 3; whether the CPU takes what an LDT selector names shows at IRETQ (stub_fault).
        auto const cs = frame->cs & 0xffff, ss = frame->ss & 0xffff;
        auto const local = [](std::uint64_t selector) { return (selector & 7) == 7; };
        bool const own = (ss & 7) == 3 && ss / 8 >= PVN_GDT_FIRST_OWN && ss / 8 <= PVN_GDT_LAST_OWN;
        if (cs != PVN_USER_CS && cs != PVN_USER_CS32 && !local(cs)) return false;
        if (ss != PVN_USER_SS && !local(ss) && !own) return false;
        auto const base = __atomic_load_n(&vcpu.page->user_gs_base, __ATOMIC_RELAXED);
        if (!cpu::canonical(base)) return false;
        cpu::write_gs_base(base);
    }
    r.rax = *rax;
    r.rip = frame->rip;
    r.cs = user ? frame->cs & 0xffff : PVN_KERNEL_CS | 1;
    r.ss = user ? frame->ss & 0xffff : kernel_ss;
    r.rflags = frame->rflags;
    r.rsp = frame->rsp;
    __atomic_store_n(&vcpu.page->event_mask, (frame->rflags & flags::interrupt) != 0 ? std::uint8_t{0} : std::uint8_t{1}, __ATOMIC_RELAXED);
    return true;
}

}  // namespace pvn::vdso
