// SPDX-License-Identifier: MIT
// A kernel stack that is not mapped, read-only, a page table or not canonical must end its domain with a clear line: the stub's
// store faults in ring 0, and that fault is the guest's doing, not the hypervisor's.
#include "hostile.hpp"

char const guest_name[] = "hostile_stack_unmapped";

extern "C" char user_ud2[], user_spin[], user_end_of_code[];
asm(R"(
.section .user.stack_unmapped, "ax"
.global user_ud2, user_spin, user_end_of_code
user_ud2:
    ud2
user_spin:
    jmp user_spin
user_end_of_code:
)");

namespace {

void handler(guest::Registers& r) { guest::fail(__FILE__, __LINE__, "no handler runs without a stack", r.vector); }

[[noreturn]] void user(char const* code) { guest::enter_user(guest::user_code_address + static_cast<std::uint64_t>(code - user_ud2), guest::hostile_stack_top); }

[[noreturn]] void ring1_ud2(std::uint64_t rsp)
{
    asm volatile("mov %0, %%rsp; ud2" : : "r"(rsp));
    guest::fail(__FILE__, __LINE__, "ud2 does not go on", 0);
}

std::uint64_t read_only_page()
{
    auto* const page = guest::allocate_page();
    CHECK_EQUAL(guest::protect(page, false), 0);
    return reinterpret_cast<std::uint64_t>(page);
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::set_handler(handler);
    guest::prepare_user(user_ud2, user_end_of_code);
    auto& page = guest::vcpu();
    constexpr std::uint64_t unmapped = 0x7f0000000000, not_canonical = 0x0000900000000000;
    switch (guest::option("case")) {
    case 0: page.kernel_sp = unmapped; user(user_ud2);
    case 1: page.kernel_sp = read_only_page() + 4096; user(user_ud2);
    case 2: page.kernel_sp = not_canonical; user(user_ud2);
    case 3: ring1_ud2(unmapped);
    case 4: {
        // A page table is no stack, though a store to one would be emulated for an instruction of the guest's.
        auto* const table = guest::allocate_page();
        CHECK_EQUAL(guest::protect(table, false), 0);
        CHECK_EQUAL(guest::promote(guest::pfn_of(table), 1), 0);
        ring1_ud2(reinterpret_cast<std::uint64_t>(table) + 4096);
    }
    case 5: ring1_ud2(not_canonical);
    case 6:                                                          // the full path: an upcall in ring 3
        page.kernel_sp = unmapped;
        guest::arm_timer(50000000);
        user(user_spin);
    case 7:                                                          // the full path: #GP in ring 1
        asm volatile("mov %0, %%rsp; mov %0, %%cr8" : : "r"(read_only_page() + 4096) : "memory");
        break;
    }
    guest::fail(__FILE__, __LINE__, "the domain has ended", guest::option("case"));
}
