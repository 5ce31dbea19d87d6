// SPDX-License-Identifier: MIT
// All C++ entries from the stubs (entry.S).
#include "arch/x86/address_space_tags.hpp"
#include "arch/x86/cpu.hpp"
#include "arch/x86/debug_registers.hpp"
#include "arch/x86/descriptor.hpp"
#include "arch/x86/ldt.hpp"
#include "arch/x86/machine_check.hpp"
#include "arch/x86/per_cpu.hpp"
#include "arch/x86/slot_addresses.hpp"
#include "arch/x86/vdso.hpp"
#include "console/log.hpp"
#include "debug/symbols.hpp"
#include "domain/domain.hpp"
#include "emulate/page_table_store.hpp"
#include "emulate/privileged.hpp"
#include "guest/access.hpp"
#include "hypercall/dispatch.hpp"
#include "interrupts/interrupts.hpp"
#include "dispatcher/schedule.hpp"
#include "tlb/flush.hpp"
#include "trace/trace.hpp"
#include "traps/deliver.hpp"

extern "C" {
struct ExceptionTableEntry {
    std::uint64_t fault, fixup;
};
extern ExceptionTableEntry extable_start[], extable_end[];
}

namespace pvn {
namespace {

// [sdm/2] IRET: #TS, #NP, #SS, #GP
constexpr bool is_fault_of_iretq(std::uint64_t vector) { return vector >= 10 && vector <= vector::general_protection; }

// return_from_trap faulted on the frame that it was to return to: a fault of that frame's context.
void fault_of_returned_frame(Vcpu& vcpu, Registers& r)
{
    struct { std::uint64_t rip, cs, rflags, rsp, ss; } frame;
    if (!guest::copy(vcpu, vdso::frame_address(r), &frame, sizeof frame, guest::Access::read))
        return domains::crash(*vcpu.domain, "return_from_trap without a frame", r);
    if (vdso::frame_address(r) != r.rsp && !guest::copy(vcpu, r.rsp, &r.rax, sizeof r.rax, guest::Access::read))
        return domains::crash(*vcpu.domain, "return_from_trap without a frame", r);
    // As the CPU says: #GP, or #NP and #SS for segments that are not present ([sdm/2] IRET).
    bool const faulted = is_fault_of_iretq(r.vector);
    auto const trap = faulted ? static_cast<unsigned>(r.vector) : static_cast<unsigned>(vector::general_protection);
    auto const error = faulted ? r.error : 0;
    if ((frame.cs & 3) != 3) return domains::crash(*vcpu.domain, "return_from_trap to a bad frame of kernel mode", r);
    // Only shown, never resumed.
    r.rip = frame.rip;
    r.cs = frame.cs;
    r.rflags = frame.rflags;
    r.rsp = frame.rsp;
    r.ss = frame.ss;
    auto const base = __atomic_load_n(&vcpu.page->user_gs_base, __ATOMIC_RELAXED);
    cpu::write_gs_base(cpu::canonical(base) ? base : 0);
    traps::deliver(vcpu, r, trap, error);
}

// INT3, INTO and INT n are traps; refused, they are a fault: RIP goes back to the instruction, whose length must be found out.
// Prefixes are not counted: without them the instruction is the same.
std::uint64_t length_of_software_interrupt(Vcpu const& vcpu, Registers const& r)
{
    constexpr std::uint8_t int3 = 0xcc, into = 0xce;
    auto const base = (r.cs & 4) != 0 ? descriptor::base(ldt::descriptor(vcpu, r.cs)) : 0;
    std::uint8_t last = 0;
    if (r.vector == vector::int80 || !guest::copy(vcpu, base + r.rip - 1, &last, 1, guest::Access::read)) return 2;
    return last == (r.vector == vector::breakpoint ? int3 : into) ? 1 : 2;
}

// What the CPU does if the gate's DPL is below CPL: #GP with the gate's index and the IDT bit.  [sdm/3] 6.12.1, 6.13
void refuse_software_interrupt(Vcpu& vcpu, Registers& r)
{
    constexpr std::uint64_t in_idt = 2;
    auto const error = r.vector * 8 + in_idt;
    r.rip -= length_of_software_interrupt(vcpu, r);
    r.rflags |= flags::resume;
    traps::deliver(vcpu, r, vector::general_protection, error);
}

bool allowed_from_user(Vcpu const& vcpu, std::uint64_t vector)
{
    auto const& trap = vcpu.page->trap[vector == vector::int80 ? std::uint64_t{PVN_TRAP_INT80} : vector];
    return (__atomic_load_n(&trap.flags, __ATOMIC_RELAXED) & PVN_TRAP_FROM_USER) != 0;
}

void guest_trap(Vcpu& vcpu, Registers& r)
{
    bool const software = r.vector == vector::breakpoint || r.vector == vector::overflow || r.vector == vector::int80;
    if (software && r.from_user() && !allowed_from_user(vcpu, r.vector)) return refuse_software_interrupt(vcpu, r);
    bool const kernel = !r.from_user();
    // Single step of the kernel, or a breakpoint on its stack, at the end of a return to ring 3: dropped, for its handler would
    // run with the user's GS base, and going back to before that would step there for ever.
    if (r.vector == vector::debug && vdso::user_gs_loaded(r)) return debug_registers::forget_hit();
    if (kernel && vdso::returning(r) && is_fault_of_iretq(r.vector)) return fault_of_returned_frame(vcpu, r);
    if (kernel && r.vector == vector::general_protection && emulate::privileged_instruction(vcpu, r)) return tlb::forget_guest();
    if (r.vector == vector::page_fault) {
        auto const address = cpu::read_cr2();
        if (kernel && (r.error & 3) == 3 && emulate::page_table_store(vcpu, r, address)) return tlb::forget_guest();
        __atomic_store_n(&vcpu.page->fault_address, address, __ATOMIC_RELAXED);
    }
    if (r.vector == vector::int80) return traps::deliver(vcpu, r, PVN_TRAP_INT80, std::nullopt);
    traps::deliver(vcpu, r, static_cast<unsigned>(r.vector),
                   traps::has_error_code(r.vector) ? std::optional{r.error} : std::nullopt);
}

}  // namespace

void traps::leave()
{
    auto& self = this_cpu();
    for (;;) {
        if (self.reschedule) schedule::choose();
        auto& vcpu = *self.current.load();
        bool const pending = traps::deliver_events(vcpu, entry_registers());
        if (self.reschedule) continue;  // a delivery can end a domain
        tlb::entering_guest();
        // What came until now was not followed by an interrupt: whoever sent it saw this CPU outside.
        bool const news = !pending && __atomic_load_n(&vcpu.page->event_pending, __ATOMIC_SEQ_CST) != 0;
        if (!news && !self.reschedule) break;
        tlb::left_guest();
    }
    traps::sanitise(entry_registers());
    address_space_tags::show_whether_to_forget(self);
    debug_registers::arm(*self.current.load());
    trace::note(PVN_TRACE_LEAVE);
}

namespace {

// From here on this CPU uses no translations of the guest's.
Vcpu& arrive()
{
    tlb::left_guest();
    auto& vcpu = *this_cpu().current.load();
    debug_registers::disarm(vcpu);
    return vcpu;
}

}  // namespace

extern "C" void enter_from_guest(Registers* registers)
{
    auto& r = *registers;
    auto& vcpu = arrive();
    trace::note(PVN_TRACE_ENTER, r.vector, r.rip);
    ++(r.vector == vector::hypercall ? vcpu.hypercalls : r.vector < 32 || r.vector == vector::int80 ? vcpu.traps : vcpu.interrupts);
    if (r.vector == vector::hypercall)
        hypercall::dispatch(vcpu, r, 0);
    else if (r.vector == vector::again)
        hypercall::dispatch(vcpu, r, r.r11);
    else if (r.vector < 32 && r.vector != vector::nmi && r.vector != vector::machine_check)
        guest_trap(vcpu, r);
    else if (r.vector == vector::int80)
        guest_trap(vcpu, r);
    else if (r.vector == vector::machine_check)
        machine_check::handle(r);
    else if (r.vector == vector::upcall) {
        // From the vDSO: finishes its return and delivers; from elsewhere in ring 1: delivers.  leave() does both.
        if (!vdso::finish_return(vcpu, r)) fault_of_returned_frame(vcpu, r);
    } else
        interrupts::handle(r.vector);
    traps::leave();
}

// A stub faulted on something that the guest gave it.  What the stub had done so far is void.
extern "C" void stub_fault(Registers* registers, std::uint64_t address)
{
    auto const fault = *registers;
    auto& vcpu = arrive();
    auto& r = entry_registers();
    if (fault.rip == slot_addresses.leave_iretq) {
        // The context that was to run is on top of the entry stack; its general registers are those of the fault.
        auto const rip = r.rip, cs = r.cs, rflags = r.rflags, rsp = r.rsp, ss = r.ss;
        r = fault;
        r.rip = rip, r.cs = cs, r.rflags = rflags, r.rsp = rsp, r.ss = ss;
        if (r.from_user())
            traps::deliver(vcpu, r, is_fault_of_iretq(fault.vector) ? static_cast<unsigned>(fault.vector) : static_cast<unsigned>(vector::general_protection), fault.error);
        else
            domains::crash(*vcpu.domain, "the guest kernel continued at a bad address", r);
    } else {
        auto shown = fault;
        log("d{}: fault in a stub at {}, address {}", vcpu.domain->id.raw(), Hex{fault.rip}, Hex{address});
        domains::crash(*vcpu.domain, "entry to the guest kernel failed: bad kernel_sp, kernel_gs_base or stack", shown);
        r = fault;
    }
    traps::leave();
}

extern "C" void trap_in_hypervisor(Registers* registers)
{
    auto& r = *registers;
    if (r.vector >= 32) {
        this_cpu().idle = false;  // the handler may find domains: destroy() counts on idle CPUs that they know none
        return interrupts::handle(r.vector);
    }
    for (auto const* entry = extable_start; entry != extable_end; ++entry)
        if (entry->fault == r.rip) {
            r.rip = entry->fixup;
            return;
        }
    console::take_for_panic();
    log("trap {} in the hypervisor: rip {} error {} cr2 {} rsp {} rflags {}", r.vector, Hex{r.rip}, Hex{r.error}, Hex{cpu::read_cr2()},
        Hex{r.rsp}, Hex{r.rflags});
    log("rax {} rbx {} rcx {} rdx {} rsi {} rdi {} rbp {}", Hex{r.rax}, Hex{r.rbx}, Hex{r.rcx}, Hex{r.rdx}, Hex{r.rsi}, Hex{r.rdi}, Hex{r.rbp});
    debug::log_address(r.rip);
    debug::log_backtrace(r.rbp);
    panic("trap in the hypervisor");
}

extern "C" [[noreturn]] void fatal_trap(Registers* registers)
{
    console::take_for_panic();
    if (registers->vector == vector::machine_check) machine_check::handle(*registers);
    log("trap {} at {} cs {} rsp {}", registers->vector, Hex{registers->rip}, Hex{registers->cs}, Hex{registers->rsp});
    panic("double fault");
}

}  // namespace pvn
