// SPDX-License-Identifier: MIT
// return_from_trap restores a context of either mode, its virtual interrupt flag and its GS base.  A user frame that cannot be resumed
// is a fault of that user (a frame with CS RPL 3 on kernel_sp, all registers the user's), never of the kernel: sigreturn and ptrace let
// a process choose such frames.
#include "guest.hpp"

char const guest_name[] = "return_from_trap";

extern "C" {
extern char user_code_ud2[], kernel_target[], user_code32[];
void jump_to_return(guest::Registers*);
extern char trap_return[];
}
asm(".section .user, \"ax\"\n.global user_code_ud2, user_code32\nuser_code_ud2: ud2\nuser_code32: ud2\n.text\n"
    ".global kernel_target, jump_to_return\nkernel_target: ud2\njump_to_return: mov %rdi, %rsp; jmp trap_return\n");

namespace {

alignas(16) char stack[4096], target_stack[256];

guest::Registers* kernel_context(std::uint64_t flags)
{
    auto* const r = reinterpret_cast<guest::Registers*>(stack + sizeof stack - 64) - 1;
    *r = {};
    guest::set_pattern(*r);
    r->rip = reinterpret_cast<std::uint64_t>(kernel_target);
    r->cs = PVN_KERNEL_CS;
    r->ss = PVN_KERNEL_SS;
    r->rsp = reinterpret_cast<std::uint64_t>(target_stack + sizeof target_stack);
    r->rflags = flags;
    return r;
}

void bad(guest::Registers const& context, std::uint64_t error, bool pending)
{
    auto& page = guest::vcpu();
    page.event_pending = pending;  // makes Paravane finish the return instead of the CPU; nothing is to be delivered as there is no entry
    auto const& e = guest::run_user(context);
    page.event_mask = 1;
    page.event_pending = 0;
    CHECK_EQUAL(e.registers.vector, 13u);
    if (!pending) CHECK_EQUAL(e.registers.error, error);
    CHECK_EQUAL(e.registers.cs & 3, 3u);
    CHECK_EQUAL(e.registers.cs, context.cs);
    CHECK_EQUAL(e.registers.ss, context.ss);
    CHECK_EQUAL(e.registers.rip, context.rip);
    CHECK_EQUAL(e.registers.rsp, context.rsp);
    CHECK(guest::has_pattern(e.registers));
    CHECK_EQUAL(e.gs_base, page.kernel_gs_base);
    CHECK(e.masked);
}

}  // namespace

void guest_main()
{
    guest::use_user_memory();
    guest::install_traps();
    auto& page = guest::vcpu();

    // Kernel to kernel, by the CPU and (with an event pending) by Paravane.  Whatever SS the frame has.
    auto const event_entry = page.event_entry;
    page.event_entry = 0;
    for (std::uint64_t const flags : {0x202ull, 0x2ull, 0x40e02ull, 0x8d7ull, 0x200202ull}) {
        for (unsigned variant = 0; variant < 8; ++variant) {
            auto* const r = kernel_context(flags);
            r->ss = variant & 4 ? 0xfff8 : PVN_KERNEL_SS;
            page.event_pending = (variant & 2) != 0;
            page.event_mask = variant & 1;
            if ((flags & 0x200) == 0) page.event_mask = 1;
            auto const caught = guest::catch_trap_of([](void* c) { jump_to_return(static_cast<guest::Registers*>(c)); }, r);
            page.event_mask = 1;
            page.event_pending = 0;
            auto const& e = guest::last_entry();
            CHECK_EQUAL(caught.vector, 6);
            CHECK_EQUAL(caught.rip, reinterpret_cast<std::uint64_t>(kernel_target));
            CHECK_EQUAL(e.registers.rsp, reinterpret_cast<std::uint64_t>(target_stack + sizeof target_stack));
            CHECK_EQUAL(e.registers.rflags & ~std::uint64_t{0x10000}, flags);
            CHECK_EQUAL(e.registers.cs, std::uint64_t{PVN_KERNEL_CS});
            CHECK_EQUAL(e.registers.ss, std::uint64_t{PVN_KERNEL_SS});
            CHECK(guest::has_pattern(e.registers));
        }
    }
    page.event_entry = event_entry;

    // Kernel to user: IF is the virtual one, and GS is the user's.
    for (std::uint64_t const flags : {0x202ull, 0x2ull, 0x244e02ull}) {
        page.user_gs_base = 0x12345000 + flags;
        auto context = guest::user_context(user_code_ud2);
        context.rflags = flags;
        auto const& e = guest::run_user(context);
        page.event_mask = 1;
        CHECK_EQUAL(e.registers.vector, 6u);
        CHECK_EQUAL(e.registers.rflags & ~std::uint64_t{0x10000}, flags);
        CHECK_EQUAL(page.user_gs_base, 0x12345000 + flags);
        CHECK(guest::has_pattern(e.registers));
    }
    // 32-bit code of ring 3.
    {
        auto context = guest::user_context(user_code32);
        context.cs = PVN_USER_CS32;
        context.rsp = 0x600800;
        auto const& e = guest::run_user(context);
        CHECK_EQUAL(e.registers.vector, 6u);
        CHECK_EQUAL(e.registers.cs, std::uint64_t{PVN_USER_CS32});
        CHECK_EQUAL(e.registers.rip, guest::user_address(user_code32));
    }

    page.kernel_gs_base = 0xffffffff81230000;
    page.user_gs_base = 0x7000;
    page.event_entry = 0;
    for (bool const pending : {false, true}) {
        auto const good = guest::user_context(user_code_ud2);
        for (std::uint64_t const rip : {0x0000800000000000ull, 0x1234567800000000ull, 0xff7fffffffffffffull}) {
            auto context = good;
            context.rip = rip;
            bad(context, 0, pending);
        }
        for (std::uint64_t const cs : {0x1003ull, 0x53ull, 0x2bull, 0x13ull, 0x37ull, 0x3ull}) {
            auto context = good;
            context.cs = cs;
            bad(context, cs & 0xfffc, pending);
        }
        for (std::uint64_t const ss : {0x1003ull, 0x33ull, 0x18ull, 0x1bull}) {
            auto context = good;
            context.ss = ss;
            bad(context, ss & 0xfffc, pending);
        }
        page.user_gs_base = 0x0000900000000000;
        if (pending) bad(good, 0, pending);  // without, it is the CPU's WRGSBASE that faults, which QEMU's TCG lets pass
        page.user_gs_base = 0x7000;
    }
}
