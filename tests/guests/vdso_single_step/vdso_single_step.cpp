// SPDX-License-Identifier: MIT
// A #DB after each instruction of the guest vDSO: the outcome of every entry is the same as without, and the handler always runs with
// the kernel's GS base.  A port has no fix-up tables for these critical sections, so an interruption anywhere in them must do no harm.
#include "guest.hpp"

char const guest_name[] = "vdso_single_step";

extern "C" {
extern char user_code_ud2[], kernel_target[];
void jump_to_return(guest::Registers*);
extern char trap_return[];
}
asm(".section .user, \"ax\"\n.global user_code_ud2\nuser_code_ud2: ud2\n.text\n"
    ".global kernel_target, jump_to_return\nkernel_target: nop; ud2\njump_to_return: mov %rdi, %rsp; jmp trap_return\n");

namespace {

constexpr std::uint64_t trap_flag = 0x100, interrupt_flag = 0x200, kernel_gs = 0xffffffff81234000, user_gs = 0x00007f0011223000;
constexpr std::uint64_t stack_words = 512;
alignas(16) std::uint64_t stack[stack_words], target_stack[64];
std::uint64_t ipi;

// What was stepped over.
std::uint64_t seen[64];  // a bit for each byte of the vDSO's page
unsigned steps_in_vdso;

struct Upcall {
    int count;
    std::uint64_t rip, cs, rsp, rflags, gs_base;
} upcall;

bool in_vdso(std::uint64_t rip) { return rip - PVN_SLOT_VDSO < 4096; }
std::uint64_t gs_base()
{
    std::uint64_t base;
    asm volatile("rdgsbase %0" : "=r"(base));
    return base;
}

void on_step(guest::Registers& r)
{
    CHECK_EQUAL(gs_base(), kernel_gs);
    CHECK_EQUAL(guest::flags_register() & trap_flag, 0u);
    if (in_vdso(r.rip)) {
        auto const offset = r.rip - PVN_SLOT_VDSO;
        seen[offset / 64] |= std::uint64_t{1} << offset % 64;
        ++steps_in_vdso;
    }
    // TF stays set in the frame: the next instruction traps too.
    if (r.rip == reinterpret_cast<std::uint64_t>(kernel_target) + 1) r.rflags &= ~trap_flag;
}

void on_event(guest::Registers& r)
{
    CHECK_EQUAL(r.vector, guest::event_vector);
    upcall = {upcall.count + 1, r.rip, r.cs, r.rsp, r.rflags, gs_base()};
    CHECK_EQUAL(upcall.gs_base, kernel_gs);
    guest::vcpu().event_pending = 0;
    guest::vcpu().pending_words = 0;
    guest::domain().event_pending[ipi / 64] = 0;
}

void begin(bool pending)
{
    guest::vcpu().event_mask = 1;
    guest::vcpu().event_pending = 0;
    guest::vcpu().pending_words = 0;
    guest::domain().event_pending[ipi / 64] = 0;
    if (pending) CHECK_EQUAL(hypercall(PVN_EVENT_SEND, ipi), 0);
    CHECK_EQUAL(guest::vcpu().event_pending, pending);
    for (auto& word : seen) word = 0;
    steps_in_vdso = 0;
    upcall = {};
}

bool saw(std::uint64_t address) { return (seen[(address - PVN_SLOT_VDSO) / 64] >> (address - PVN_SLOT_VDSO) % 64 & 1) != 0; }
unsigned distinct()
{
    unsigned n = 0;
    for (auto const word : seen) n += static_cast<unsigned>(__builtin_popcountll(word));
    return n;
}

void set_trap_flag() { asm volatile("pushfq; orq $0x100, (%%rsp); popfq" : : : "memory", "cc"); }
void clear_trap_flag() { asm volatile("pushfq; andq $~0x100, (%%rsp); popfq" : : : "memory", "cc"); }

struct CallResult {
    std::uint64_t rax, rbx, rdx, r12, rsp_moved, flags;
};
// Calls an entry of the vDSO with TF set from just before the call to just after it.
CallResult call(std::uint64_t entry, std::uint64_t number = 0, std::uint64_t a0 = 0, std::uint64_t a1 = 0)
{
    CallResult c{};
    register std::uint64_t rbx asm("rbx") = 0x1bbb;
    register std::uint64_t rdx asm("rdx") = 0x1ddd;
    register std::uint64_t r12 asm("r12") = 0x1222;
    std::uint64_t rax = number, before, after, flags;
    asm volatile(
        "mov %%rsp, %[before]\n"
        "pushfq; orq $0x100, (%%rsp); popfq\n"
        "call *%[entry]\n"
        "pushfq; pop %[flags]\n"
        "pushfq; andq $~0x100, (%%rsp); popfq\n"
        "mov %%rsp, %[after]\n"
        : [before] "=&r"(before), [after] "=&r"(after), [flags] "=&r"(flags), "+a"(rax), "+r"(rbx), "+r"(rdx), "+r"(r12)
        : [entry] "r"(entry), "D"(a0), "S"(a1) : "rcx", "r11", "memory", "cc");
    c = {rax, rbx, rdx, r12, after - before, flags};
    CHECK_EQUAL(c.rbx, 0x1bbbu);
    CHECK_EQUAL(c.rdx, 0x1dddu);
    CHECK_EQUAL(c.r12, 0x1222u);
    CHECK_EQUAL(c.rsp_moved, 0u);
    CHECK(saw(entry));
    return c;
}

void calls()
{
    begin(false);
    auto const version = call(PVN_VDSO_HYPERCALL, PVN_SYSTEM_VERSION);
    CHECK_EQUAL(version.rax, std::uint64_t{PVN_ABI_VERSION});
    CHECK((version.flags & trap_flag) != 0);
    CHECK_EQUAL(guest::vcpu().event_mask, 1u);

    for (bool const pending : {false, true}) {
        begin(pending);
        (void)call(PVN_VDSO_UNMASK_EVENTS);
        CHECK_EQUAL(guest::vcpu().event_mask, 0u);
        CHECK_EQUAL(upcall.count, pending);
        CHECK(distinct() >= 3);
        if (pending) CHECK((upcall.rflags & interrupt_flag) != 0 && in_vdso(upcall.rip));

        begin(pending);
        if (!pending) CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, 1), 0);  // something to wait for; it is due
        (void)call(PVN_VDSO_BLOCK);
        CHECK_EQUAL(guest::vcpu().event_mask, 0u);
        CHECK_EQUAL(upcall.count, 1);
        CHECK(distinct() >= 3);
    }
}

void return_to_kernel(bool pending, std::uint64_t flags)
{
    begin(pending);
    auto* const r = reinterpret_cast<guest::Registers*>(stack + stack_words - 8) - 1;
    *r = {};
    guest::set_pattern(*r);
    r->rip = reinterpret_cast<std::uint64_t>(kernel_target);
    r->cs = PVN_KERNEL_CS;
    r->ss = PVN_KERNEL_SS;
    r->rsp = reinterpret_cast<std::uint64_t>(target_stack + 64);
    r->rflags = flags;
    auto const caught = guest::catch_trap_of([](void* c) {
        set_trap_flag();
        jump_to_return(static_cast<guest::Registers*>(c));
    }, r);
    auto const& e = guest::last_entry();
    CHECK_EQUAL(caught.vector, 6);
    CHECK_EQUAL(caught.rip, reinterpret_cast<std::uint64_t>(kernel_target) + 1);
    CHECK_EQUAL(e.registers.rsp, reinterpret_cast<std::uint64_t>(target_stack + 64));
    CHECK_EQUAL(e.registers.rflags & ~std::uint64_t{0x10000}, flags & ~trap_flag);
    CHECK(guest::has_pattern(e.registers));
    CHECK(saw(PVN_VDSO_RETURN_FROM_TRAP));
    CHECK(distinct() >= 5);
    CHECK_EQUAL(upcall.count, pending && (flags & interrupt_flag) != 0);
    if (upcall.count != 0) {
        // On top of the context that it returns to.
        CHECK_EQUAL(upcall.rip, reinterpret_cast<std::uint64_t>(kernel_target));
        CHECK_EQUAL(upcall.rsp, reinterpret_cast<std::uint64_t>(target_stack + 64));
        CHECK_EQUAL(upcall.rflags & ~std::uint64_t{0x10000}, flags);
    }
}

void return_to_user(bool pending, std::uint64_t flags)
{
    begin(pending);
    guest::vcpu().user_gs_base = user_gs;
    auto context = guest::user_context(user_code_ud2);
    context.rflags = flags;
    set_trap_flag();
    auto const& e = guest::run_user(context);
    clear_trap_flag();
    // The trap after an IRETQ that was executed with TF set comes in the context returned to ([sdm/3] 18.3.1.4).
    CHECK(e.registers.vector == 6 || e.registers.vector == 1);
    CHECK_EQUAL(e.registers.rip, guest::user_address(user_code_ud2));
    CHECK_EQUAL(e.registers.cs, std::uint64_t{PVN_USER_CS});
    CHECK_EQUAL(e.registers.ss, std::uint64_t{PVN_USER_SS});
    CHECK_EQUAL(e.registers.rsp, context.rsp);
    CHECK_EQUAL(e.registers.rflags & ~std::uint64_t{0x10000}, flags);
    CHECK(guest::has_pattern(e.registers));
    CHECK_EQUAL(guest::vcpu().user_gs_base, user_gs);
    CHECK_EQUAL(e.gs_base, kernel_gs);
    CHECK(saw(PVN_VDSO_RETURN_FROM_TRAP));
    CHECK(distinct() >= 5);
    CHECK_EQUAL(upcall.count, pending && (flags & interrupt_flag) != 0);
    if (upcall.count != 0) {
        CHECK_EQUAL(upcall.rip, guest::user_address(user_code_ud2));
        CHECK_EQUAL(upcall.cs, std::uint64_t{PVN_USER_CS});
        CHECK_EQUAL(upcall.rsp, context.rsp);
    }
}

}  // namespace

void guest_main()
{
    guest::use_user_memory();
    guest::set_handler(on_event);
    guest::set_step_handler(on_step);
    asm volatile("wrgsbase %0" : : "r"(kernel_gs));
    guest::vcpu().kernel_gs_base = kernel_gs;
    ipi = static_cast<std::uint64_t>(hypercall(PVN_EVENT_BIND_IPI, 0));
    CHECK_EQUAL(hypercall(PVN_EVENT_UNMASK, ipi), 0);
    auto const timer = hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_TIMER, 0);
    CHECK(timer > 0 && timer / 64 == static_cast<long>(ipi / 64));
    CHECK_EQUAL(hypercall(PVN_EVENT_UNMASK, static_cast<std::uint64_t>(timer)), 0);

    // Handlers that mask events, as a kernel's do, and one that does not.
    for (bool const masks : {true, false}) {
        guest::install_traps(masks ? PVN_TRAP_MASK_EVENTS : 0u);
        calls();
        for (bool const pending : {false, true})
            for (std::uint64_t const flags : {0x202ull, 0x2ull, 0x302ull, 0xa57ull}) {
                return_to_kernel(pending, flags);
                if ((flags & trap_flag) == 0) return_to_user(pending, flags);
            }
    }
}
