// SPDX-License-Identifier: MIT
// No trap frame may be stored into the slot, whatever a guest says its stack is: it would overwrite the entry stack's own frame or
// the vCPU page under the stub's feet.  A domain that tries ends with a clear line; the byte just outside the slot is its own.
#include "hostile.hpp"

char const guest_name[] = "hostile_stack_slot";

extern "C" char user_ud2[], user_spin[], user_end_of_code[];
asm(R"(
.section .user.stack_slot, "ax"
.global user_ud2, user_spin, user_end_of_code
user_ud2:
    ud2
user_spin:
    jmp user_spin
user_end_of_code:
.text
.global stack_slot_stub
stack_slot_stub:
    mov %rsp, %rdi
    lea stack_slot_stack + 4096(%rip), %rsp
    call stack_slot_arrived
)");
extern "C" {
extern char stack_slot_stub[];
alignas(16) __attribute__((used)) char stack_slot_stack[4096];
}

namespace {

void handler(guest::Registers& r) { guest::fail(__FILE__, __LINE__, "no handler runs on a stack in the slot", r.vector); }

[[noreturn]] void user(char const* code) { guest::enter_user(guest::user_code_address + static_cast<std::uint64_t>(code - user_ud2), guest::hostile_stack_top); }

[[noreturn]] void ring1_ud2(std::uint64_t rsp)
{
    asm volatile("mov %0, %%rsp; ud2" : : "r"(rsp));
    guest::fail(__FILE__, __LINE__, "ud2 does not go on", 0);
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::set_handler(handler);
    guest::prepare_user(user_ud2, user_end_of_code);
    auto& page = guest::vcpu();
    constexpr std::uint64_t entry_stack = PVN_SLOT_ENTRY_STACKS + 0x2000;
    switch (guest::option("case")) {
    case 0: page.kernel_sp = entry_stack; user(user_ud2);
    case 1: ring1_ud2(PVN_SLOT_VCPU_PAGE + 0x1000);
    case 2: page.kernel_sp = PVN_SLOT_BASE + 16; user(user_ud2);     // straddles the lower end
    case 3: ring1_ud2(PVN_SLOT_END + 32);                            // straddles the upper end
    case 4:                                                          // an upcall in ring 3
        page.kernel_sp = entry_stack - 64;
        guest::arm_timer(50000000);
        user(user_spin);
    case 5:                                                          // an upcall in ring 1
        guest::arm_timer(50000000);
        asm volatile("mov %0, %%rsp; movb $0, (%1); 1: cmpb $0, 1(%1); je 1b; int $0x82"  // in time or, on a slow machine, late
                     : : "r"(entry_stack - 64), "r"(&page.event_mask) : "memory");
        break;
    case 6:                                                          // a page fault that takes the full path
        asm volatile("mov %0, %%rsp; movb $0, (%1)" : : "r"(entry_stack - 64), "r"(std::uint64_t{PVN_SLOT_TEXT}) : "memory");
        break;
    case 7:
        CHECK_EQUAL(guest::map_user(PVN_SLOT_END, guest::pfn_of(guest::allocate_page()), 3), 0);
        // A frame without error code fits there exactly.  The library's stub would push below it, so a stub of our own looks at it.
        page.kernel_sp = PVN_SLOT_END + 48;
        page.trap[6].handler = reinterpret_cast<std::uint64_t>(stack_slot_stub);
        user(user_ud2);
    }
    guest::fail(__FILE__, __LINE__, "the domain has ended", guest::option("case"));
}

extern "C" __attribute__((used)) void stack_slot_arrived(std::uint64_t rsp)
{
    CHECK_EQUAL(rsp, PVN_SLOT_END + 8);
    CHECK_EQUAL(*reinterpret_cast<std::uint64_t*>(rsp), guest::user_code_address);
    guest::say("the first bytes above the slot are the guest's");
    guest::finish();
}
