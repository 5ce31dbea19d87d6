// SPDX-License-Identifier: MIT
// A GS base that is not canonical faults in the stub's WRGSBASE, in ring 0.  The domain that put it there ends, or the CPU takes it as
// it is (QEMU's emulation does) and the domain goes on; the hypervisor must not care.
#include "hostile.hpp"

char const guest_name[] = "hostile_gs";

extern "C" char user_ud2[], user_spin[], user_syscall[], user_end_of_code[];
asm(R"(
.section .user.gs, "ax"
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
    if (guest::option("case") == 2) guest::fail(__FILE__, __LINE__, "the full path looks at the base", r.vector);
    guest::say(r.vector == 13 ? "a fault of the user context" : "this CPU takes any base");
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
    page.kernel_gs_base = not_canonical;
    switch (guest::option("case")) {
    case 0: user(user_syscall);
    case 1: user(user_ud2);
    case 2: guest::arm_timer(50000000); user(user_spin);
    case 3:                             // the user's, when it is to be loaded by the vDSO
        page.kernel_gs_base = 0;
        page.user_gs_base = not_canonical;
        user(user_ud2);
    case 4:                             // the same with an upcall due, so that Paravane finishes the return
        page.kernel_gs_base = 0;
        page.user_gs_base = not_canonical;
        page.event_pending = 1;
        user(user_spin);
    }
    guest::fail(__FILE__, __LINE__, "a case", guest::option("case"));
}
