// SPDX-License-Identifier: MIT
// A load of SS holds a debug trap back for one instruction.  If that is SYSCALL or INT, #DB arrives at the first instruction of a
// stub, in ring 0 (CVE-2018-8897): it is dropped there, or delivered before, and the domain goes on.
#include "hostile.hpp"

char const guest_name[] = "hostile_mov_ss";

namespace {

std::uint64_t debug_traps, others;
std::uint64_t volatile watched[2];

void handler(guest::Registers& r)
{
    if (r.vector == 1) ++debug_traps;
    else ++others;
    r.rflags &= ~std::uint64_t{0x100};
    if (r.vector == guest::syscall_vector) {
        r.cs = PVN_KERNEL_CS;
        r.ss = PVN_KERNEL_SS;
    }
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::set_handler(handler);
    watched[0] = 0x19;
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, 0, reinterpret_cast<std::uint64_t>(&watched[0])), 0);
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, 7, 0x000f0403), 0);  // reads and writes, 8 bytes
    for (unsigned i = 0; i < 1000; ++i) {
        asm volatile("mov %0, %%ss; int3" : : "m"(watched[0]) : "memory");
        asm volatile("mov %0, %%ss; int $4" : : "m"(watched[0]) : "memory");
        asm volatile("mov %0, %%ss; int $0x80" : : "m"(watched[0]) : "memory");
        asm volatile("mov %0, %%ss; int $0x82" : : "m"(watched[0]) : "memory");
        asm volatile("mov $0x502, %%eax; mov $3, %%edi; mov %0, %%ss; syscall" : : "m"(watched[0]) : "rax", "rcx", "rdi", "r11", "memory");
        asm volatile("mov $0xa00, %%eax; mov %0, %%ss; call *%1" : : "m"(watched[0]), "r"(std::uint64_t{PVN_VDSO_HYPERCALL}) : "rax", "rcx", "r11", "memory");
    }
    CHECK(others >= 4000);
    CHECK(debug_traps > 0);  // the watchpoint is there
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, 7, 0), 0);
    // The same with single steps.
    others = debug_traps = 0;
    for (unsigned i = 0; i < 1000; ++i) {
        asm volatile("pushfq; orq $0x100, (%%rsp); mov $0x19, %%eax; popfq; mov %%eax, %%ss; int3" : : : "rax", "memory", "cc");
        asm volatile("pushfq; orq $0x100, (%%rsp); mov $0x19, %%eax; popfq; mov %%eax, %%ss; int $0x80" : : : "rax", "memory", "cc");
        asm volatile("pushfq; orq $0x100, (%%rsp); mov $0x19, %%edx; mov $0x502, %%eax; mov $3, %%edi; popfq; mov %%edx, %%ss; syscall"
                     : : : "rax", "rcx", "rdx", "rdi", "r11", "memory", "cc");
    }
    CHECK_EQUAL(others, 3000u);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_VERSION), PVN_ABI_VERSION);
}
