// SPDX-License-Identifier: MIT
// The entry stack, the IST stacks and the scratch words can be written by ring 1 while it runs.  Nothing that it leaves there may be
// used: traps, hypercalls, system calls and timer events go on as if nothing had happened.
#include "hostile.hpp"

char const guest_name[] = "hostile_entry_stack";

extern "C" char user_loop[], user_end_of_code[];
asm(R"(
.section .user.entry_stack, "ax"
.global user_loop, user_end_of_code
user_loop:
    mov $20, %ebx
1:  syscall
    dec %ebx
    jnz 1b
    ud2
user_end_of_code:
)");

namespace {

unsigned system_calls, upcalls;
guest::Random random{0x1234567};

void scribble()
{
    for (std::uint64_t page = 0x41000; page <= 0x49000; page += 0x2000) {
        auto* const words = reinterpret_cast<std::uint64_t volatile*>(PVN_SLOT_BASE + page);
        for (unsigned i = page == 0x41000 ? 2 : 0; i < 512; ++i) words[i] = i % 3 == 0 ? random.next() : i % 3 == 1 ? 0x80 : 0x3002;
        if (page == 0x41000) words[0] = random.next();
    }
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::set_handler([](guest::Registers& r) {
        if (r.vector == guest::event_vector) {
            ++upcalls;
            guest::vcpu().event_pending = 0;
            for (auto& word : guest::domain().event_pending) word = 0;
            guest::vcpu().pending_words = 0;
        } else {
            CHECK_EQUAL(r.vector, guest::syscall_vector);
            ++system_calls;
            scribble();
        }
    });
    guest::prepare_user(user_loop, user_end_of_code);
    for (unsigned round = 0; round < 20; ++round) {
        scribble();
        CHECK_EQUAL(hypercall(PVN_SYSTEM_VERSION), PVN_ABI_VERSION);
        CHECK_EQUAL(guest::catch_trap([] { scribble(); asm volatile("ud2"); }).vector, 6);
        CHECK_EQUAL(guest::catch_trap([] { scribble(); asm volatile("mov %0, %%cr8" : : "r"(0ul)); }).vector, 13);
        CHECK_EQUAL(guest::catch_trap([] { scribble(); asm volatile("int3"); }).vector, 3);
        CHECK_EQUAL(guest::catch_trap([] { scribble(); *reinterpret_cast<std::uint64_t volatile*>(PVN_SLOT_TEXT) = 0; }).vector, 14);
        CHECK_EQUAL(guest::catch_trap([] { guest::enter_user(guest::user_code_address, guest::hostile_stack_top); }).vector, 6);
        guest::arm_timer(100000);
        guest::vcpu().event_mask = 0;
        auto const before = upcalls;
        for (unsigned i = 0; i < 100000 && *const_cast<unsigned volatile*>(&upcalls) == before; ++i) {
            if (i % 16 == 0) scribble();
            asm volatile("pause" : : : "memory");
        }
        guest::vcpu().event_mask = 1;
    }
    CHECK_EQUAL(system_calls, 20u * 20);
    CHECK(upcalls > 10);
}
