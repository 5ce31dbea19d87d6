// SPDX-License-Identifier: MIT
// The trap table and entry points are the guest's to fill with anything.  A bad address is only ever a ring-1 RIP: it harms the domain
// that put it there, by a fault of its own or by a clear end.
#include "hostile.hpp"

char const guest_name[] = "hostile_handler";

extern "C" char user_ud2[], user_spin[], user_syscall[], user_end_of_code[];
asm(R"(
.section .user.handler, "ax"
.global user_ud2, user_spin, user_syscall, user_end_of_code
user_ud2:
    ud2
user_spin:
    jmp user_spin
user_syscall:
    syscall
    ud2
user_end_of_code:
)");

namespace {

constexpr std::uint64_t not_canonical = 0x0000900000000000;

void handler(guest::Registers& r)
{
    switch (guest::option("case")) {
    case 0: case 3: case 7:              // the first instruction at the bad address faults, in ring 1
        CHECK_EQUAL(r.cs, PVN_KERNEL_CS);
        CHECK(r.vector == 13 || r.vector == 14);
        break;
    case 4:                              // no entry: the instruction does not exist, and the application's stack is not touched
        CHECK_EQUAL(r.cs, PVN_USER_CS);
        CHECK_EQUAL(r.vector, 6u);
        CHECK_EQUAL(r.rip, guest::user_code_address + static_cast<std::uint64_t>(user_syscall - user_ud2));
        CHECK_EQUAL(r.rsp, guest::hostile_stack_top);
        break;
    case 2: break;                       // the stub's text, run in ring 1, goes where the guest could go itself
    case 6: CHECK_EQUAL(r.vector, 6u); break;
    default: guest::fail(__FILE__, __LINE__, "no handler", r.vector);
    }
    guest::say("the fault is the guest's own");
    guest::finish();
}

[[noreturn]] void user(char const* code) { guest::enter_user(guest::user_code_address + static_cast<std::uint64_t>(code - user_ud2), guest::hostile_stack_top); }

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::set_handler(handler);
    guest::prepare_user(user_ud2, user_end_of_code);
    auto& page = guest::vcpu();
    switch (guest::option("case")) {
    case 0: page.trap[6].handler = not_canonical; user(user_ud2);
    case 1: page.trap[6].handler = 0; user(user_ud2);
    case 2: page.trap[6].handler = PVN_SLOT_TEXT; user(user_ud2);
    case 3: page.syscall_entry = not_canonical; user(user_syscall);
    case 4: page.syscall_entry = 0; user(user_syscall);
    case 5: page.event_entry = not_canonical; guest::arm_timer(20000000); user(user_spin);
    case 6:                              // no entry for events: there are no upcalls
        page.event_entry = 0;
        guest::arm_timer(20000000);
        page.event_mask = 0;
        for (auto const end = guest::now() + 100000000; guest::now() < end;) asm volatile("pause");
        CHECK(page.event_pending != 0);
        user(user_ud2);
    case 7: page.event_entry = PVN_SLOT_CPU_TABLES; guest::arm_timer(20000000); user(user_spin);
    }
    guest::fail(__FILE__, __LINE__, "a case", guest::option("case"));
}
