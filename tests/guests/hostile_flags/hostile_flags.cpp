// SPDX-License-Identifier: MIT
// Flags that a guest must not have stay away whatever it puts into POPF, a returned frame or R11: the real IF stays set (or the
// guest would own the CPU), IOPL stays 0 (or it would own the ports), VM stays 0, and TF, AC and RF do nobody else harm.  NT is an
// application's own: it stays whatever interrupts it.  A kernel does not keep it.
#include "hostile.hpp"

char const guest_name[] = "hostile_flags";

extern "C" char user_flags[], user_in[], user_out[], user_cli[], user_sti[], user_hlt[], user_end_of_code[], flags_landing[];
asm(R"(
.section .user.flags, "ax"
.global user_flags, user_in, user_out, user_cli, user_sti, user_hlt, user_end_of_code
user_flags: pushfq
            pop %rax
            ud2
user_in:    in $0x70, %al
            ud2
user_out:   out %al, $0x70
            ud2
user_cli:   cli
            ud2
user_sti:   sti
            ud2
user_hlt:   hlt
            ud2
user_end_of_code:
.text
.global flags_landing
flags_landing:
    pushfq
    pop %rax
    ud2
)");

namespace {

constexpr std::uint64_t interrupt = 0x200, iopl = 0x3000, nested = 0x4000, vm = 0x20000, trap = 0x100;

std::uint64_t seen_rax;
unsigned debug_traps;
std::uint64_t landing, stack;

std::uint64_t user(char const* code) { return guest::user_code_address + static_cast<std::uint64_t>(code - user_flags); }

void check_real_flags()
{
    auto const f = guest::flags_register();
    CHECK_EQUAL(f & interrupt, interrupt);
    CHECK_EQUAL(f & iopl, 0u);
    CHECK_EQUAL(f & vm, 0u);
}

// A frame with those flags; the landing place traps at once.  Returns the flags that the trap's frame shows.
std::uint64_t land(std::uint64_t flags, bool in_user)
{
    landing = in_user ? user(user_flags) : reinterpret_cast<std::uint64_t>(flags_landing);
    stack = in_user ? guest::hostile_stack_top : reinterpret_cast<std::uint64_t>(static_cast<char*>(guest::allocate_page()) + 4096);
    auto const caught = guest::catch_trap([flags, in_user] {
        asm volatile("push %0; push %1; push %2; push %3; push %4; jmp *%5"
                     : : "r"(in_user ? 0x2bul : 0x18ul), "r"(stack), "r"(flags), "r"(in_user ? 0x33ul : 0x10ul), "r"(landing),
                         "r"(std::uint64_t{PVN_VDSO_RETURN_FROM_TRAP}) : "memory", "rax");
    });
    CHECK(caught.vector == 6 || caught.vector == 1 || caught.vector == 17);
    return caught.rflags;
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::prepare_user(user_flags, user_end_of_code);
    check_real_flags();

    // POPF in ring 1: IF and IOPL do not move.
    for (auto const f : {0x2ul, iopl | 2, iopl | interrupt | 2, 0x40000ul | 2, 0x10000ul | 2, vm | 2, 0x3f7ed7ul & ~(trap | nested), 0x1f0000ul | 2}) {
        asm volatile("push %0; popfq" : : "r"(f) : "cc", "memory");
        check_real_flags();
        asm volatile("push $2; popfq" : : : "cc", "memory");
    }
    // CLI in ring 1 is emulated, on the virtual flag only.
    guest::vcpu().event_mask = 0;
    asm volatile("cli" : : : "memory");
    CHECK(guest::vcpu().event_mask != 0);
    check_real_flags();

    // Frames, of both modes.
    for (auto const in_user : {false, true})
        for (auto const f : {0ul, iopl, iopl | interrupt, vm, vm | iopl, 0x10000ul, 0x40000ul, 0x3ul << 19, 0x1f3ed7ul & ~trap}) {
            guest::vcpu().event_mask = 1;
            auto const shown = land(f, in_user);
            CHECK_EQUAL(shown & (iopl | vm | nested), 0u);
            check_real_flags();
        }
    // With an event due, Paravane itself returns to the frame.
    for (auto const in_user : {false, true}) {
        guest::vcpu().event_entry = 0;
        for (auto const f : {iopl | interrupt, iopl | interrupt | nested | vm, interrupt | 0x1f0000}) {
            guest::vcpu().event_pending = 1;
            auto const shown = land(f, in_user);
            CHECK_EQUAL(shown & (iopl | vm | nested), in_user ? f & nested : 0u);
            check_real_flags();
            guest::vcpu().event_pending = 0;
            guest::vcpu().event_mask = 1;
        }
    }
    CHECK_EQUAL(land(nested, true) & nested, nested);
    // R11 across a hypercall, whatever it is: SYSCALL takes what RFLAGS is, and that is masked already.
    asm volatile("push %0; popfq" : : "r"(iopl | nested | 0x40000ul | 2) : "cc", "memory");
    CHECK_EQUAL(hypercall(PVN_SYSTEM_VERSION), PVN_ABI_VERSION);
    check_real_flags();
    CHECK_EQUAL(guest::flags_register() & nested, 0u);
    asm volatile("push $2; popfq" : : : "cc", "memory");

    // Ring 3 with IOPL in its frame has no ports, and no CLI, STI or HLT.
    for (auto const* const code : {user_in, user_out, user_cli, user_sti, user_hlt}) {
        landing = user(code);
        auto const caught = guest::catch_trap([] {
            asm volatile("push $0x2b; push %0; push $0x3202; push $0x33; push %1; jmp *%2"
                         : : "r"(guest::hostile_stack_top), "r"(landing), "r"(std::uint64_t{PVN_VDSO_RETURN_FROM_TRAP}) : "memory");
        });
        CHECK_EQUAL(caught.vector, 13);
        CHECK_EQUAL(caught.error, 0u);
        CHECK_EQUAL(caught.rip, landing);
    }
    // Single steps through a hypercall: the domain's own #DB, if any, and the hypervisor goes on.
    guest::set_handler([](guest::Registers& r) {
        CHECK_EQUAL(r.vector, 1u);
        ++debug_traps;
        if (debug_traps > 200) r.rflags &= ~trap;
    });
    asm volatile("pushfq; orq $0x100, (%%rsp); popfq; mov $0xa00, %%eax; call *%1; pushfq; andq $~0x100, (%%rsp); popfq"
                 : "=&a"(seen_rax) : "r"(std::uint64_t{PVN_VDSO_HYPERCALL}) : "rcx", "r11", "memory", "cc");
    CHECK_EQUAL(seen_rax, std::uint64_t{PVN_ABI_VERSION});
    CHECK(debug_traps > 2 && debug_traps < 20);
    check_real_flags();
}
