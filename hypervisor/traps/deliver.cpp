// SPDX-License-Identifier: MIT
#include "traps/deliver.hpp"

#include "arch/x86/cpu.hpp"
#include "arch/x86/vdso.hpp"
#include "domain/domain.hpp"
#include "guest/access.hpp"

namespace pvn::traps {
namespace {

template <class T>
T peek(T const& field) { return __atomic_load_n(&field, __ATOMIC_RELAXED); }

struct Frame {
    std::uint64_t error, rip, cs, rflags, rsp, ss;
};

void enter_kernel(Vcpu& vcpu, Registers& r, std::uint64_t handler, std::optional<std::uint64_t> error, bool mask)
{
    auto& page = *vcpu.page;
    auto sp = r.rsp;
    if (r.from_user()) {
        __atomic_store_n(&page.user_gs_base, cpu::read_gs_base(), __ATOMIC_RELAXED);
        auto const base = peek(page.kernel_gs_base);
        if (!cpu::canonical(base)) return domains::crash(*vcpu.domain, "kernel_gs_base is not canonical", r);
        cpu::write_gs_base(base);
        sp = peek(page.kernel_sp);
    }
    if (!cpu::canonical(handler)) return domains::crash(*vcpu.domain, "a trap handler's address is not canonical", r);
    auto const rpl = r.from_user() ? 0u : 3u;  // a kernel's selectors are shown with RPL 0
    Frame const frame{error.value_or(0), r.rip, r.cs & ~std::uint64_t{rpl},
                      (r.rflags & ~flags::interrupt) | (peek(page.event_mask) != 0 ? 0 : flags::interrupt), r.rsp, r.from_user() ? r.ss : PVN_KERNEL_SS};
    auto const bytes = error ? sizeof(Frame) : sizeof(Frame) - 8;
    sp = (sp & ~std::uint64_t{15}) - bytes;
    auto copy = frame;
    auto* const from = error ? &copy.error : &copy.rip;
    if (!guest::copy(vcpu, sp, from, bytes, guest::Access::write))
        return domains::crash(*vcpu.domain, "no kernel stack for a trap: not mapped writable, or in the slot", r);
    if (mask) __atomic_store_n(&page.event_mask, std::uint8_t{1}, __ATOMIC_RELAXED);
    r.rip = handler;
    r.cs = PVN_KERNEL_CS | 1;
    r.ss = kernel_ss;
    r.rsp = sp;
    r.rflags = flags::interrupt | flags::reserved_one;
}

}  // namespace

void deliver(Vcpu& vcpu, Registers& r, unsigned trap, std::optional<std::uint64_t> error)
{
    auto const handler = peek(vcpu.page->trap[trap].handler);
    auto const trap_flags = peek(vcpu.page->trap[trap].flags);
    if (handler == 0) return domains::crash(*vcpu.domain, "a trap for which the guest has no handler", r);
    enter_kernel(vcpu, r, handler, error, (trap_flags & PVN_TRAP_MASK_EVENTS) != 0);
}

bool deliver_events(Vcpu& vcpu, Registers& r)
{
    if (__atomic_load_n(&vcpu.page->event_pending, __ATOMIC_SEQ_CST) == 0) return false;
    // The vDSO lets events through just before its last instructions: the upcall goes on top of the context that it
    // returns to, so that nothing piles up on the stack.
    // A bad frame: the vDSO goes on, faults on it, and that fault is delivered as the user's.
    if (vdso::returning(r) && !vdso::finish_return(vcpu, r)) return true;
    if (peek(vcpu.page->event_mask) != 0) return true;
    if (auto const handler = peek(vcpu.page->event_entry)) enter_kernel(vcpu, r, handler, std::nullopt, true);
    return true;
}

void sanitise(Registers& r)
{
    r.rflags = (r.rflags & (r.from_user() ? flags::user_visible : flags::kernel_visible)) | flags::interrupt | flags::reserved_one;
}

}  // namespace pvn::traps
