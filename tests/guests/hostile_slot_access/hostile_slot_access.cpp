// SPDX-License-Identifier: MIT
// What of the slot is read-only stays so for ring 1: text, vDSO, CPU tables, P2M and M2P.  Stores fault, are not emulated, and change
// nothing.  Nothing but text and vDSO can be executed, least of all what can be written.
#include "hostile.hpp"

char const guest_name[] = "hostile_slot_access";

void guest_main()
{
    guest::install_traps();
    std::uint64_t const places[] = {PVN_SLOT_TEXT, PVN_SLOT_TEXT + 0x294, PVN_SLOT_TEXT + 0x1ff8, PVN_SLOT_VDSO, PVN_SLOT_VDSO + 0xff8, PVN_SLOT_CPU_TABLES, PVN_SLOT_CPU_TABLES + 16,
                                    PVN_SLOT_CPU_TABLES + 0x80, PVN_SLOT_CPU_TABLES + 0x1000, PVN_SLOT_CPU_TABLES + 0x1800, PVN_SLOT_CPU_TABLES + 0x2000, PVN_SLOT_CPU_TABLES + 0x2008,
                                    PVN_SLOT_CPU_TABLES + 0x3000, PVN_SLOT_CPU_TABLES + 0x3008, PVN_SLOT_CPU_TABLES + 0x4000, PVN_SLOT_CPU_TABLES + 0x5000, PVN_SLOT_CPU_TABLES + 0x6000, PVN_SLOT_P2M,
                                    PVN_SLOT_P2M + 8 * guest::start().tables_pfn, PVN_SLOT_M2P, PVN_SLOT_M2P + 0x8000};
    for (auto const place : places) {
        auto* const p = reinterpret_cast<std::uint64_t volatile*>(place);
        auto const before = *p;
        auto const check = [&](guest::Caught const& c) {
            CHECK_EQUAL(c.vector, 14);
            CHECK_EQUAL(c.error, 3u);  // a write, to a page that is present, by the supervisor
            CHECK_EQUAL(c.address, place);
        };
        check(guest::catch_trap([&] { *p = 0; }));
        check(guest::catch_trap([&] { *p = before | 1; }));
        check(guest::catch_trap([&] { asm volatile("lock btsq $1, %0" : "+m"(*p) : : "memory"); }));
        check(guest::catch_trap([&] { asm volatile("xchg %0, %1" : : "r"(0ul), "m"(*p) : "memory"); }));
        check(guest::catch_trap([&] { *reinterpret_cast<unsigned char volatile*>(place) = 0; }));
        // Bit 63 of what is loaded into CR3: whether the way in forgets (docs/invariants.md).
        CHECK_EQUAL(*p & ~(std::uint64_t{1} << 63), before & ~(std::uint64_t{1} << 63));
        CHECK_EQUAL(hypercall(PVN_MMU_UPDATE_VA, place, 3, 0), -PVN_E_BAD_ADDRESS);
    }
    // Data, read-only or not: an instruction fetch faults.
    for (auto const place : {std::uint64_t{PVN_SLOT_CPU_TABLES}, PVN_SLOT_CPU_TABLES + 0x1000, PVN_SLOT_CPU_TABLES + 0x2000, PVN_SLOT_CPU_TABLES + 0x3000, PVN_SLOT_CPU_TABLES + 0x4000,
                             PVN_SLOT_CPU_TABLES + 0x6000, PVN_SLOT_ENTRY_STACKS + 0x1000, PVN_SLOT_ENTRY_STACKS + 0x3000, PVN_SLOT_ENTRY_STACKS + 0x5000, PVN_SLOT_ENTRY_STACKS + 0x7000,
                             PVN_SLOT_ENTRY_STACKS + 0x9000, std::uint64_t{PVN_SLOT_VCPU_PAGE}, std::uint64_t{PVN_SLOT_DOMAIN_PAGE}, std::uint64_t{PVN_SLOT_P2M}, std::uint64_t{PVN_SLOT_M2P}}) {
        auto const caught = guest::catch_trap([=] { asm volatile("call *%0" : : "r"(place) : "memory"); });
        CHECK_EQUAL(caught.vector, 14);
        CHECK_EQUAL(caught.error, 0x11u);  // a fetch, from a page that is present
        CHECK_EQUAL(caught.address, place);
    }
    // Ring 1 cannot make them writable either, nor load tables of its own.
    for (auto const code : {0, 1, 2, 3, 4}) {
        static char table[16];
        auto const caught = guest::catch_trap([code] {
            switch (code) {
            case 0: asm volatile("lgdt %0" : : "m"(table)); break;
            case 1: asm volatile("lidt %0" : : "m"(table)); break;
            case 2: asm volatile("ltr %w0" : : "r"(0x90)); break;
            case 3: asm volatile("lldt %w0" : : "r"(0)); break;
            default: asm volatile("mov %0, %%cr0" : : "r"(0x33ul)); break;  // without paging
            }
        });
        CHECK_EQUAL(caught.vector, 13);
    }
    CHECK_EQUAL(guest::catch_trap([] { asm volatile("mov $0x80, %%eax; mov %%eax, %%ss" : : : "eax"); }).vector, 13);
    CHECK_EQUAL(guest::catch_trap([] { asm volatile("pushq $0x80; push $0; lretq" : : : "memory"); }).vector, 13);
}
