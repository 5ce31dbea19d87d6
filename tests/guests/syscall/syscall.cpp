// SPDX-License-Identifier: MIT
// SYSCALL from ring 3 enters the guest kernel with RCX, R11 and RSP as the CPU leaves them, with the flags cleared that a user must
// not choose (TF, DF, NT, AC, IOPL), with events masked and with the kernel's GS base; the vDSO returns to the user with all of it back.
#include "guest.hpp"

char const guest_name[] = "syscall";

extern "C" char user_syscall[], user_after[], user_set_flags[], user_flags_after[], user_vdso[], user_vdso_after[];
asm(".section .user, \"ax\"\n.global user_syscall, user_after, user_set_flags, user_flags_after, user_vdso, user_vdso_after\n"
    "user_syscall: syscall\nuser_after: ud2\n"
    "user_set_flags: push %r15; popfq; syscall\nuser_flags_after: ud2\n"
    // An RCX that names the vDSO is overwritten by SYSCALL, and a jump there is a fault.
    "user_vdso: mov %r14, %rcx; jmp *%r14\nuser_vdso_after: ud2\n.text\n");

void guest_main()
{
    guest::use_user_memory();
    guest::install_traps();
    constexpr std::uint64_t kernel_gs = 0xffffffff81234000, user_gs = 0x00007f0011223000;
    auto& page = guest::vcpu();

    // Each combination of DF, NT, AC, ID and IF (IF only through the frame: ring 3 cannot change it), with and without TF.
    constexpr std::uint64_t bits[] = {0x400, 0x4000, 0x40000, 0x200000, 0x200, 0x100};
    for (unsigned choice = 0; choice < 64; ++choice) {
        std::uint64_t flags = 2 | 0x8d5;
        for (unsigned i = 0; i < 6; ++i)
            if ((choice >> i & 1) != 0) flags |= bits[i];
        bool const step = (flags & 0x100) != 0;
        page.kernel_gs_base = kernel_gs;
        page.user_gs_base = user_gs;
        page.event_mask = 1;
        auto context = guest::user_context(user_syscall);
        context.rflags = flags;
        auto const e = guest::run_user(context);
        page.event_mask = 1;
        CHECK_EQUAL(e.registers.vector, guest::syscall_vector);
        CHECK_EQUAL(e.registers.rip, guest::user_address(user_after));  // RCX
        // The CPU sees IF set whenever ring 3 runs; R11 is as SYSCALL leaves it.
        CHECK_EQUAL(e.registers.rflags | 0x200, flags | 0x200);
        CHECK_EQUAL(e.registers.rcx, guest::user_address(user_after));
        CHECK_EQUAL(e.registers.r11, e.registers.rflags);
        CHECK_EQUAL(e.registers.rsp, guest::user_stack_top);
        auto copy = e.registers;
        copy.rcx = 0xa2a2a2a2a2a2a2a2;
        copy.r11 = 0xabababababababab;
        CHECK(guest::has_pattern(copy));
        CHECK_EQUAL(e.flags & 0x47f00, 0x200u);  // only IF
        CHECK(e.masked);
        CHECK_EQUAL(e.gs_base, kernel_gs);
        CHECK_EQUAL(page.user_gs_base, user_gs);

        // Back: the instruction after SYSCALL is a UD2, whose frame shows the context.  With TF the step comes first or with it.
        auto back = e.registers;
        back.rcx = 0xa2a2a2a2a2a2a2a2;
        back.r11 = 0xabababababababab;
        back.rflags = flags;
        auto const& r = guest::run_user(back).registers;
        page.event_mask = 1;
        CHECK_EQUAL(r.vector, 6u);
        CHECK_EQUAL(r.rip, guest::user_address(user_after));
        CHECK_EQUAL(r.rflags & ~std::uint64_t{0x10000}, flags);
        CHECK_EQUAL(r.rsp, guest::user_stack_top);
        CHECK(guest::has_pattern(r));
        CHECK_EQUAL(page.user_gs_base, user_gs);
        (void)step;
    }

    // Flags that ring 3 sets itself by POPF: IF and IOPL stay what they are.
    auto context = guest::user_context(user_set_flags);
    context.r15 = 0x47402 | 0x3000;
    auto const& e = guest::run_user(context);
    CHECK_EQUAL(e.registers.vector, guest::syscall_vector);
    CHECK_EQUAL(e.registers.r11 & 0x77700, 0x44600u);
    CHECK_EQUAL(e.flags & 0x47f00, 0x200u);

    // The vDSO is not for ring 3.
    for (auto const target : {PVN_VDSO_HYPERCALL, PVN_VDSO_RETURN_FROM_TRAP, PVN_SLOT_TEXT}) {
        auto jump = guest::user_context(user_vdso);
        jump.r14 = target;
        auto const& r = guest::run_user(jump).registers;
        CHECK_EQUAL(r.vector, 14u);
        CHECK_EQUAL(r.rip, std::uint64_t{target});
        CHECK_EQUAL(r.error, 0x15u);
    }
}
