// SPDX-License-Identifier: MIT
// The stubs' text may be run in ring 1 at any offset: a guest gains nothing by it that it could not do itself.  At worst it loses its
// stack, and ends.  Eight domains jump to different parts of it, each until it has done its share or has ended.
#include "hostile.hpp"

char const guest_name[] = "hostile_slot_jump";

extern "C" char slot_jump[];
asm(R"(
.text
.global slot_jump
slot_jump:                          # RDI: where to.  RSP, RBP, and the RSP that is left on the entry stack: of this stack
    lea slot_jump_stack + 8192(%rip), %rsp
    lea -4096(%rsp), %rbp
    mov $0xa00, %eax                # PVN_SYSTEM_VERSION
    movabs $0xffff800000010000, %rcx
    call *%rcx
    xor %eax, %eax
    xor %ecx, %ecx
    xor %edx, %edx
    xor %ebx, %ebx
    xor %esi, %esi
    jmp *%rdi
)");
extern "C" {
alignas(4096) __attribute__((used)) char slot_jump_stack[16384];
}

void guest_main()
{
    guest::set_handler([](guest::Registers& r) {
        // An upcall: a jump that never trapped.
        if (r.vector == guest::event_vector) guest::finish();
        CHECK_EQUAL(r.vector, guest::syscall_vector);
        guest::finish();
    });
    auto& page = guest::vcpu();
    for (std::uint64_t i = 0; i < 0x8a; ++i) {
        memset(slot_jump_stack, 0, sizeof slot_jump_stack);
        guest::install_traps();
        page.syscall_entry = page.compat_syscall_entry = 0;  // where the stubs for system calls go: a fault of ours
        auto const target = PVN_SLOT_TEXT + guest::option("case") * 0x8a + i * 37 % 0x8a;
        (void)guest::catch_trap([target] { asm volatile("mov %0, %%rdi; jmp slot_jump" : : "r"(target) : "memory"); });
        std::uint64_t cs;
        asm volatile("mov %%cs, %0" : "=r"(cs));
        CHECK_EQUAL(cs & 3, 1u);
    }
    guest::finish();
}
