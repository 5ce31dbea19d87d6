// SPDX-License-Identifier: MIT
// Privileged instructions of ring 1 that are safe are carried out on the guest's own virtual state and counted by address; all others
// are the guest's #GP, and none touches the machine's.
#include "guest.hpp"

char const guest_name[] = "privileged_instructions";

extern "C" char counted[];
#define FAULTS(text) CHECK_EQUAL(guest::catch_trap([] { asm volatile(text : : : "rax", "rcx", "rdx", "memory"); }).vector, 13)

void guest_main()
{
    guest::install_traps();
    auto& page = guest::vcpu();
    
#pragma clang loop unroll(disable)
    for (int i = 0; i < 3; ++i) {
        asm volatile("sti" : : : "memory");
        CHECK_EQUAL(page.event_mask, 0u);
        asm volatile(".global counted\ncounted: cli" : : : "memory");
        CHECK(page.event_mask != 0);
    }
    CHECK_EQUAL(guest::flags_register() & 0x200, 0x200u);  // the CPU's own never changes
    std::uint64_t v;
    asm volatile("mov %%cr0, %0" : "=r"(v));
    CHECK_EQUAL(v & 0x80000001, 0x80000001u);
    page.fault_address = 0x777;
    asm volatile("mov %%cr2, %0" : "=r"(v));
    CHECK_EQUAL(v, 0x777u);
    asm volatile("mov %%cr3, %0" : "=r"(v));
    CHECK_EQUAL(v, guest::start().tables_pfn * 4096);
    asm volatile("mov %0, %%cr3" : : "r"(v) : "memory");
    asm volatile("mov %%cr4, %0" : "=r"(v));
    CHECK_EQUAL(v & 0x20, 0x20u);
    // What CPUID and CR4 say of FSGSBASE is so.  [sdm/2] CPUID, leaf 7: EBX bit 0
    std::uint32_t leaf = 7, features, sub = 0, rest;
    asm("cpuid" : "+a"(leaf), "=b"(features), "+c"(sub), "=d"(rest));
    CHECK((features & 1) != 0 && (v & 1 << 16) != 0);
    asm volatile("mov %%cr8, %0" : "=r"(v));
    CHECK_EQUAL(v, 0u);
    asm volatile("wbinvd; clts; invlpg (%0); invlpg 64(%0); invlpg 8(%0,%1,8)" : : "r"(&v), "r"(0ul) : "memory");
    std::uint32_t low, high;
    asm volatile("wrmsr" : : "a"(0x1000u), "d"(0x7fu), "c"(0xc0000100u));
    asm volatile("rdfsbase %0" : "=r"(v));
    CHECK_EQUAL(v, 0x7f00001000u);
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0xc0000100u));
    CHECK(low == 0x1000 && high == 0x7f);
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0xc0000080u));
    CHECK_EQUAL(low & 0x500, 0x500u);
    asm volatile("in $0x21, %%al" : "=a"(low) : "a"(0x1200));  // Paravane's own port: ones
    CHECK_EQUAL(low, 0x12ffu);
    asm volatile("out %%al, $0x21" : : "a"(0));
    asm volatile("hlt");  // masked: at once

    // XCR0 has one value: it is Paravane's.
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    auto const xcr0 = std::uint64_t{high} << 32 | low;
    CHECK_EQUAL(xcr0 & ~0xe7ul, 0u);
    CHECK_EQUAL(xcr0 & 3, 3u);
    asm volatile("xsetbv" : : "a"(low), "d"(high), "c"(0));
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_XCR0, xcr0), 0);
    for (auto const value : {0ul, 1ul, xcr0 ^ 2, xcr0 | 8, xcr0 | 1ul << 9, xcr0 | 1ul << 32, ~0ul}) {
        CHECK_EQUAL(hypercall(PVN_VCPU_SET_XCR0, value), -PVN_E_INVALID);
        CHECK_EQUAL(guest::catch_trap([=] { asm volatile("xsetbv" : : "a"(value), "d"(value >> 32), "c"(0)); }).vector, 13);
    }
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    CHECK_EQUAL(std::uint64_t{high} << 32 | low, xcr0);

    FAULTS("mov $0xc0000082, %%ecx; rdmsr");
    FAULTS("mov $0xc0000082, %%ecx; xor %%eax, %%eax; xor %%edx, %%edx; wrmsr");
    FAULTS("mov $0xc0000100, %%ecx; xor %%eax, %%eax; mov $0x8000, %%edx; wrmsr");  // not canonical
    FAULTS("sub $16, %%rsp; lidt (%%rsp); add $16, %%rsp");
    FAULTS("sub $16, %%rsp; lgdt (%%rsp); add $16, %%rsp");
    FAULTS("xor %%eax, %%eax; ltr %%ax");
    FAULTS("xor %%eax, %%eax; lldt %%ax");
    FAULTS("xor %%eax, %%eax; mov %%rax, %%cr0");
    FAULTS("mov $0x1000, %%eax; mov %%rax, %%cr3");
    FAULTS("xor %%eax, %%eax; mov %%rax, %%cr8");

    // The counts, by address and with the bytes.
    static pvn_trap_count counts[64];
    auto const n = hypercall(PVN_DOMAIN_GET_TRAPS, guest::start().domain_id, reinterpret_cast<std::uint64_t>(counts), 64);
    CHECK(n > 10);
    bool found = false;
    std::uint64_t place;
    asm volatile("lea counted(%%rip), %0" : "=r"(place));
    for (long i = 0; i < n; ++i)
        if (counts[i].rip == place) {
            found = true;
            CHECK_EQUAL(counts[i].count, 3u);
            CHECK_EQUAL(counts[i].bytes[0], 0xfa);
        }
    CHECK(found);
}
