// SPDX-License-Identifier: MIT
// A hypercall is told from a system call by its return address.  SYSCALL overwrites RCX, so no value put there beforehand may turn
// a system call into a hypercall, and ring 3 must not get at the vDSO's SYSCALL or at anything else in the slot.
#include "hostile.hpp"

char const guest_name[] = "hostile_rcx";

extern "C" char user_syscall[], user_jump[], user_read[], user_write[], user_upcall[], user_end_of_code[], ring1_syscall[];
asm(R"(
.section .user.rcx, "ax"
user_begin_of_code:
.global user_syscall, user_jump, user_read, user_write, user_upcall, user_end_of_code
user_syscall:                       # each of the addresses of the vDSO in RCX, with a hypercall that would end the domain
    movabs $0xffff800000010000, %rbx
1:  mov %rbx, %rcx
    mov $0x502, %eax
    mov $3, %edi
    syscall
    inc %rbx
    cmp $0x1000, %bx
    jb 1b
    cmp $0x160, %bx
    int3
user_jump:
    jmp *%rsi
user_read:
    mov (%rsi), %al
    int3
user_write:
    movb $0, (%rsi)
    int3
user_upcall:
    int $0x82
    int3
user_end_of_code:
.text
.global ring1_syscall
ring1_syscall:
    movabs $0xffff800000010002, %rcx
    mov $0x502, %eax
    mov $3, %edi
    syscall
ring1_back:
    ret
.global ring1_back
)");
extern "C" char ring1_back[], user_begin_of_code[];

namespace {

std::uint64_t system_calls, argument;
bool from_ring_1;

std::uint64_t user(char const* code) { return guest::user_code_address + static_cast<std::uint64_t>(code - user_begin_of_code); }

void handler(guest::Registers& r)
{
    if (r.vector != guest::syscall_vector) guest::fail(__FILE__, __LINE__, "only system calls", r.vector);
    ++system_calls;
    CHECK_EQUAL(r.rax, 0x502u);
    if (from_ring_1) {
        CHECK_EQUAL(r.rcx, reinterpret_cast<std::uint64_t>(ring1_back));
        r.cs = PVN_KERNEL_CS;
        r.ss = PVN_KERNEL_SS;
        return;
    }
    CHECK(r.rcx >= user(user_syscall) && r.rcx < user(user_jump));
    CHECK_EQUAL(r.rip, r.rcx);
    CHECK_EQUAL(r.cs & 3, 3u);
}

guest::Caught in_user(char const* code, std::uint64_t rsi)
{
    argument = rsi;
    auto const rip = user(code);
    return guest::catch_trap([rip] {
        asm volatile("mov %0, %%rsi; push $0x2b; push %1; push $0x202; push $0x33; push %2; jmp *%3"
                     : : "r"(argument), "r"(guest::hostile_stack_top), "r"(rip), "r"(std::uint64_t{PVN_VDSO_RETURN_FROM_TRAP}) : "rsi", "memory");
    });
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::set_handler(handler);
    guest::prepare_user(user_begin_of_code, user_end_of_code);

    auto const done = in_user(user_syscall, 0);
    CHECK_EQUAL(done.vector, 3);
    CHECK_EQUAL(system_calls, 0x1000u);

    from_ring_1 = true;
    auto const before = system_calls;
    asm volatile("call ring1_syscall" : : : "rax", "rcx", "rdi", "r11", "memory");
    CHECK_EQUAL(system_calls, before + 1);
    from_ring_1 = false;

    std::uint64_t const places[] = {PVN_VDSO_HYPERCALL, PVN_VDSO_HYPERCALL + 2, PVN_VDSO_RETURN_FROM_TRAP, PVN_VDSO_UNMASK_EVENTS, PVN_VDSO_BLOCK,
                                    PVN_SLOT_TEXT, PVN_SLOT_TEXT + 0x450, PVN_SLOT_CPU_TABLES, PVN_SLOT_ENTRY_STACKS + 0x1000, PVN_SLOT_VCPU_PAGE,
                                    PVN_SLOT_DOMAIN_PAGE, PVN_SLOT_P2M, PVN_SLOT_M2P};
    for (auto const place : places) {
        for (auto const* const code : {user_jump, user_read, user_write}) {
            auto const caught = in_user(code, place);
            CHECK_EQUAL(caught.vector, 14);
            CHECK_EQUAL(caught.address, place);
            CHECK_EQUAL(caught.error & 5, 5u);  // present, from ring 3: the page is the supervisor's
            CHECK_EQUAL(caught.cs & 3, 3u);
        }
    }
    auto const upcall = in_user(user_upcall, 0);
    CHECK_EQUAL(upcall.vector, 13);
    CHECK(upcall.error == 0x82u * 8 + 2 || upcall.error == 0x82u * 16 + 2);  // QEMU's emulation gives the byte offset
}
