// SPDX-License-Identifier: MIT
// A trap of the guest kernel reaches its handler as on bare metal: on its own stack, 16-byte aligned, with RIP of the instruction
// (faults) or after it (traps), native selectors with RPL 0, the virtual interrupt flag in RFLAGS.IF, the right error code and no
// register changed.  A kernel's fix-up tables and its oops reports rely on each of these.
#include "guest.hpp"

char const guest_name[] = "traps_kernel";

extern "C" {
#define CASE(name)          \
    void case_##name();     \
    extern char at_##name[], after_##name[];
CASE(ud2) CASE(divide) CASE(int3) CASE(int4) CASE(int21) CASE(segment) CASE(not_canonical) CASE(stack_address) CASE(read_absent) CASE(write_absent)
CASE(write_protected) CASE(low_write_protected) CASE(fetch) CASE(int80) CASE(float)
extern char step_at[];
void case_step();
}
// Below each: the instruction's address and that of the next.
#define BODY(name, before, instruction) \
    ".global case_" #name ", at_" #name ", after_" #name "\ncase_" #name ": " GUEST_PATTERN before "\nat_" #name ": " instruction "\nafter_" #name ": ud2\n"
asm(".text\n" BODY(ud2, "", "ud2") BODY(divide, "", "divq zero(%rip)") BODY(int3, "", "int3") BODY(int4, "", "int $4") BODY(int21, "", "int $0x21")
    BODY(segment, "", "movw bad_selector(%rip), %fs") BODY(not_canonical, "", "mov (%rax), %rbx") BODY(stack_address, "", "mov (%rbp), %rbx")
    BODY(read_absent, "", "mov 0x12345678, %bl") BODY(write_absent, "", "movb $1, 0x12345678")
    BODY(write_protected, "", "movb $1, case_ud2_page(%rip)") BODY(low_write_protected, "", "movq $1, 0x700008")
    BODY(fetch, "", "jmp *no_code(%rip)") BODY(int80, "", "int $0x80") BODY(float, "fnclex; fldcw unmasked(%rip); fld1; fldz; fdivrp\n", "fwait")
    "case_step: " GUEST_PATTERN "pushfq; orq $0x100, (%rsp); popfq; nop; step_at: ud2\n"
    ".data; zero: .quad 0; bad_selector: .quad 0x1000; unmasked: .quad 0x37b; .global no_code; no_code: .quad 0x701000\n"
    ".balign 4096; .global case_ud2_page; case_ud2_page: .fill 4096\n.text\n");
extern "C" char case_ud2_page[];

namespace {

struct Case {
    void (*code)();
    void const* rip;
    int vector;
    std::uint64_t error;
    std::uint64_t address;  // of a page fault
};

void run(Case const& c, bool masked)
{
    for (int stack = 0; stack < 3; ++stack) {
        bool const mask_on_entry = stack != 0;  // PVN_TRAP_MASK_EVENTS
        guest::install_traps(mask_on_entry ? PVN_TRAP_MASK_EVENTS : 0u);
        guest::vcpu().fault_address = 0x5555;
        guest::vcpu().event_mask = masked;
        auto const caught = guest::catch_trap_of([](void* f) { reinterpret_cast<void (*)()>(f)(); }, reinterpret_cast<void*>(c.code));
        CHECK_EQUAL(guest::vcpu().event_mask != 0, masked);
        guest::vcpu().event_mask = 1;
        auto const& e = guest::last_entry();
        // QEMU's TCG raises #GP for an address that is not canonical, through SS as well ([sdm/3] 6.15: #SS).
        CHECK(caught.vector == c.vector || (c.vector == 12 && caught.vector == 13));
        CHECK_EQUAL(e.registers.rip, reinterpret_cast<std::uint64_t>(c.rip));
        // QEMU's TCG doubles the index that `int n` without permission reports: 16 * n + 2 ([sdm/2] INT n: 8 * n + 2).
        CHECK(e.registers.error == c.error || (c.vector == 13 && (c.error & 2) != 0 && e.registers.error == c.error * 2 - 2));
        CHECK_EQUAL(e.registers.cs, std::uint64_t{PVN_KERNEL_CS});
        CHECK_EQUAL(e.registers.ss, std::uint64_t{PVN_KERNEL_SS});
        CHECK_EQUAL(e.registers.rflags & 0x200, masked ? 0u : 0x200u);
        CHECK_EQUAL(e.registers.rflags & ~std::uint64_t{0x10ad5}, std::uint64_t{2});
        CHECK(guest::has_pattern(e.registers));
        CHECK_EQUAL(e.frame_end % 16, 0u);
        CHECK(e.registers.rsp >= e.frame_end && e.registers.rsp < e.frame_end + 16);
        CHECK_EQUAL(e.flags & 0x200, 0x200u);
        CHECK_EQUAL(e.masked, masked || mask_on_entry);
        CHECK_EQUAL(guest::vcpu().fault_address, c.vector == 14 ? c.address : 0x5555u);
    }
}

}  // namespace

void guest_main()
{
    auto* const low = guest::allocate_page();
    CHECK_EQUAL(guest::map_user(0x700000, guest::pfn_of(low), 1), 0);                   // read-only, supervisor
    CHECK_EQUAL(guest::map_user(0x701000, guest::pfn_of(low), 1ull << 63 | 1), 0);  // and not to be executed
    CHECK_EQUAL(guest::protect(case_ud2_page, false), 0);
    auto const page = reinterpret_cast<std::uint64_t>(case_ud2_page);
    Case const cases[] = {
        {case_ud2, at_ud2, 6, 0, 0},
        {case_divide, at_divide, 0, 0, 0},
        {case_int3, after_int3, 3, 0, 0},
        {case_int4, after_int4, 4, 0, 0},
        {case_int80, after_int80, 32, 0, 0},
        {case_int21, at_int21, 13, 0x21 * 8 + 2, 0},
        {case_segment, at_segment, 13, 0x1000, 0},
        {case_not_canonical, at_not_canonical, 13, 0, 0},
        {case_stack_address, at_stack_address, 12, 0, 0},
        {case_read_absent, at_read_absent, 14, 0, 0x12345678},
        {case_write_absent, at_write_absent, 14, 2, 0x12345678},
        {case_write_protected, at_write_protected, 14, 3, page},
        {case_low_write_protected, at_low_write_protected, 14, 3, 0x700008},
        {case_fetch, reinterpret_cast<void const*>(0x701000), 14, 0x11, 0x701000},
    };
    for (auto const& c : cases)
        for (bool const masked : {true, false}) run(c, masked);

    // x87: the pending exception is raised by the next waiting instruction.
    for (bool const masked : {true, false}) {
        run({case_float, at_float, 16, 0, 0}, masked);
        asm volatile("fninit");
    }

    // Single step: after the instruction that follows POPF, and RFLAGS.TF is clear in the handler.
    guest::install_traps();
    auto const caught = guest::catch_trap_of([](void*) { case_step(); }, nullptr);
    CHECK_EQUAL(caught.vector, 1);
    CHECK_EQUAL(caught.rip, reinterpret_cast<std::uint64_t>(step_at));
    CHECK_EQUAL(caught.rflags & 0x100, 0x100u);
    CHECK_EQUAL(guest::last_entry().flags & 0x100, 0u);
    CHECK(guest::has_pattern(guest::last_entry().registers));
}
