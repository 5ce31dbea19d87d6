// SPDX-License-Identifier: MIT
// INT3, INTO and `int $0x80` of ring 3 reach the guest kernel's handler only where it allowed them; otherwise they are #GP at the
// instruction, as with a gate whose DPL is too low.  A kernel whose handler trusts such a trap could be fooled by an application.
#include "guest.hpp"

char const guest_name[] = "software_interrupts";

#define NAMES(X) X(int3) X(int3_long) X(int4) X(int80) X(int3_32) X(into_32) X(int4_32) X(int80_32)
#define DECLARE(name) extern "C" char user_##name[], after_##name[];
NAMES(DECLARE)
#define BODY(name, instruction) ".global user_" #name ", after_" #name "\nuser_" #name ": " instruction "\nafter_" #name ": ud2\n"
asm(".section .user, \"ax\"\n" BODY(int3, ".byte 0xcc") BODY(int3_long, ".byte 0xcd, 3") BODY(int4, ".byte 0xcd, 4") BODY(int80, "int $0x80")
    BODY(int3_32, ".byte 0xcc") BODY(into_32, ".byte 0xce") BODY(int4_32, ".byte 0xcd, 4") BODY(int80_32, "int $0x80") ".text\n");

namespace {

struct Case {
    char const* code;
    char const* after;
    unsigned trap;
    std::uint64_t vector;
    bool compat;
};
constexpr Case cases[] = {
    {user_int3, after_int3, 3, 3, false},          {user_int3_long, after_int3_long, 3, 3, false},
    {user_int4, after_int4, 4, 4, false},          {user_int80, after_int80, PVN_TRAP_INT80, 0x80, false},
    {user_int3_32, after_int3_32, 3, 3, true},     {user_into_32, after_into_32, 4, 4, true},
    {user_int4_32, after_int4_32, 4, 4, true},     {user_int80_32, after_int80_32, PVN_TRAP_INT80, 0x80, true},
};

}  // namespace

void guest_main()
{
    guest::use_user_memory();
    guest::vcpu().kernel_gs_base = 0xffffffff81234000;
    for (bool const masks : {false, true})
        for (bool const allowed : {false, true})
            for (auto const& c : cases) {
                guest::install_traps(masks ? PVN_TRAP_MASK_EVENTS : 0u);
                // Only the one that is meant.
                for (unsigned const trap : {3u, 4u, unsigned{PVN_TRAP_INT80}})
                    guest::vcpu().trap[trap].flags &= ~std::uint32_t{PVN_TRAP_FROM_USER};
                if (allowed) guest::vcpu().trap[c.trap].flags |= PVN_TRAP_FROM_USER;
                auto context = guest::user_context(c.code);
                context.rflags = 0x202 | 0x800;  // overflow, so that INTO traps
                if (c.compat) context.cs = PVN_USER_CS32;
                guest::vcpu().user_gs_base = 0x7000;
                auto const& e = guest::run_user(context);
                guest::vcpu().event_mask = 1;
                CHECK_EQUAL(e.registers.vector, allowed ? c.trap : 13u);
                CHECK_EQUAL(e.registers.rip, guest::user_address(allowed ? c.after : c.code));
                if (!allowed) CHECK_EQUAL(e.registers.error, c.vector * 8 + 2);
                CHECK_EQUAL(e.registers.rflags & ~std::uint64_t{0x10000}, context.rflags);
                CHECK_EQUAL(e.registers.cs, context.cs);
                CHECK_EQUAL(e.masked, masks);
                CHECK_EQUAL(e.gs_base, guest::vcpu().kernel_gs_base);
                CHECK_EQUAL(guest::vcpu().user_gs_base, 0x7000u);
                if (!c.compat) CHECK(guest::has_pattern(e.registers));
            }

    // Ring 1 needs no permission.
    CHECK_EQUAL(guest::catch_trap([] { asm volatile("int3"); }).vector, 3);
    for (unsigned const trap : {3u, 4u, unsigned{PVN_TRAP_INT80}}) guest::vcpu().trap[trap].flags = 0;
    CHECK_EQUAL(guest::catch_trap([] { asm volatile("int3"); }).vector, 3);
    CHECK_EQUAL(guest::catch_trap([] { asm volatile("int $4"); }).vector, 4);
    CHECK_EQUAL(guest::catch_trap([] { asm volatile("int $0x80"); }).vector, PVN_TRAP_INT80);
}
