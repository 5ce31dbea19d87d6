// SPDX-License-Identifier: MIT
// A trap of ring 3 reaches the guest kernel on kernel_sp, with kernel_gs_base in GS and the user's base saved, and a frame as the
// CPU makes it; return_from_trap gives the user everything back.  Else a process could choose the kernel's stack or see its data.
#include "guest.hpp"

char const guest_name[] = "traps_user";

#define NAMES(X) X(ud2) X(divide) X(int3) X(int4) X(int80) X(int21) X(hlt) X(cli) X(in) X(wrmsr) X(not_canonical) X(read_absent) X(write_absent) \
    X(write_protected) X(fetch) X(kernel_page) X(slot) X(segment) X(upcall) X(sysenter) X(lldt) X(swapgs) X(step) X(nops) \
    X(fs_base) X(gs_base)
#define DECLARE(name) extern "C" char user_##name[], after_##name[];
NAMES(DECLARE)
#define BODY(name, instruction) ".global user_" #name ", after_" #name "\nuser_" #name ": " instruction "\nafter_" #name ": ud2\n"
asm(".section .user, \"ax\"\n" BODY(ud2, "ud2") BODY(divide, "divq user_zero(%rip)") BODY(int3, "int3") BODY(int4, "int $4") BODY(int80, "int $0x80")
    BODY(int21, "int $0x21") BODY(hlt, "hlt") BODY(cli, "cli") BODY(in, "in $0x20, %al") BODY(wrmsr, "wrmsr") BODY(not_canonical, "mov (%rax), %rbx")
    BODY(read_absent, "mov 0x12345678, %bl") BODY(write_absent, "movb $1, 0x12345678") BODY(write_protected, "movb $1, user_zero(%rip)")
    BODY(fetch, "jmp *%r15") BODY(kernel_page, "mov 0xffffffff80200000, %bl") BODY(slot, "mov (%r15), %bl")
    BODY(segment, "movw user_zero + 8(%rip), %fs") BODY(upcall, "int $0x82") BODY(sysenter, "sysenter")
    BODY(lldt, "lldt user_zero(%rip)") BODY(swapgs, "swapgs")
    BODY(step, "nop") BODY(nops, "nop; nop; nop") BODY(fs_base, "wrfsbase %r15; int3") BODY(gs_base, "wrgsbase %r15; int3")
    ".balign 8; user_zero: .quad 0, 0x1000\n.text\n");  // aligned: AC is on

namespace {

struct Case {
    void const* code;
    void const* stopped;
    std::uint64_t vector, error, address;
    std::uint64_t r15 = 0xafafafafafafafaf;
};

alignas(16) char own_stack[4096];
std::uint64_t stack_end = reinterpret_cast<std::uint64_t>(own_stack) + sizeof own_stack;

guest::Entry const& run(Case const& c, guest::Registers context)
{
    constexpr std::uint64_t kernel_gs = 0xffffffff81234000, user_gs = 0x00007f0011223000;
    guest::vcpu().kernel_sp = stack_end - 8;  // not aligned: the frame is
    guest::vcpu().kernel_gs_base = kernel_gs;
    guest::vcpu().user_gs_base = user_gs;
    guest::vcpu().fault_address = 0x5555;
    context.r15 = c.r15;
    auto const& e = guest::run_user(context);
    guest::vcpu().event_mask = 1;
    if (e.registers.vector != c.vector) {
        guest::print_hex(reinterpret_cast<std::uint64_t>(c.code));
        guest::print("\n");
    }
    CHECK_EQUAL(e.registers.vector, c.vector);
    // QEMU's TCG doubles the index that `int n` without permission reports: 16 * n + 2 ([sdm/2] INT n: 8 * n + 2).
    CHECK(e.registers.error == c.error || (c.vector == 13 && (c.error & 2) != 0 && e.registers.error == c.error * 2 - 2));
    CHECK_EQUAL(e.registers.cs, std::uint64_t{PVN_USER_CS});
    CHECK_EQUAL(e.registers.ss, std::uint64_t{PVN_USER_SS});
    CHECK_EQUAL(e.registers.rsp, guest::user_stack_top);
    CHECK_EQUAL(e.registers.r15, c.r15);
    auto copy = e.registers;
    copy.r15 = 0xafafafafafafafaf;
    CHECK(guest::has_pattern(copy));
    CHECK_EQUAL(e.frame_end, stack_end - 16);
    CHECK_EQUAL(e.gs_base, kernel_gs);
    CHECK_EQUAL(guest::vcpu().user_gs_base, c.code == user_gs_base && c.vector == 3 ? c.r15 : user_gs);
    CHECK_EQUAL(e.flags & 0x47700, 0x200u);  // AC, NT, DF, IF, TF; IOPL
    CHECK_EQUAL(guest::vcpu().fault_address, c.vector == 14 ? c.address : 0x5555u);
    return e;
}

}  // namespace

void guest_main()
{
    guest::use_user_memory();
    auto const stopped = [](void const* label) { return guest::user_address(label); };
    auto const readable = stopped(user_divide) & ~std::uint64_t{4095};
    (void)readable;
    std::uint64_t zero = 0;
    asm("lea user_zero(%%rip), %0" : "=r"(zero));
    // SYSENTER has no entry point, which is #GP; AMD's CPUs do not know it in long mode at all.  [sdm/2] and [apm/3] SYSENTER
    std::uint32_t leaf = 0, vendor, rest, more;
    asm("cpuid" : "+a"(leaf), "=b"(vendor), "=c"(rest), "=d"(more));
    bool const has_sysenter = vendor == 0x756e6547;  // "Genu"
    Case const cases[] = {
        {user_ud2, user_ud2, 6, 0, 0},
        {user_divide, user_divide, 0, 0, 0},
        {user_int3, after_int3, 3, 0, 0},
        {user_int4, after_int4, 4, 0, 0},
        {user_int80, after_int80, PVN_TRAP_INT80, 0, 0},
        {user_int21, user_int21, 13, 0x21 * 8 + 2, 0},
        {user_upcall, user_upcall, 13, 0x82 * 8 + 2, 0},
        {user_hlt, user_hlt, 13, 0, 0},
        {user_cli, user_cli, 13, 0, 0},
        {user_in, user_in, 13, 0, 0},
        {user_wrmsr, user_wrmsr, 13, 0, 0},
        {user_sysenter, user_sysenter, has_sysenter ? 13u : 6u, 0, 0},
        {user_lldt, user_lldt, 13, 0, 0},
        {user_swapgs, user_swapgs, 13, 0, 0},
        {user_segment, user_segment, 13, 0x1000, 0},
        {user_not_canonical, user_not_canonical, 13, 0, 0},
        {user_read_absent, user_read_absent, 14, 4, 0x12345678},
        {user_write_absent, user_write_absent, 14, 6, 0x12345678},
        {user_write_protected, user_write_protected, 14, 7, guest::user_address(reinterpret_cast<void*>(zero))},
        {user_kernel_page, user_kernel_page, 14, 5, 0xffffffff80200000},
        {user_slot, user_slot, 14, 5, PVN_SLOT_VDSO, PVN_SLOT_VDSO},
        {user_slot, user_slot, 14, 5, PVN_SLOT_VCPU_PAGE + 8, PVN_SLOT_VCPU_PAGE + 8},
        {user_fetch, nullptr, 14, 0x15, guest::user_stack, guest::user_stack},
    };
    for (auto const& c : cases)
        for (bool const mask_on_entry : {true, false})
            for (std::uint64_t const flags : {0x202ull, 0x2ull, 0x40602ull}) {
                guest::install_traps(mask_on_entry ? PVN_TRAP_MASK_EVENTS : 0u);
                auto context = guest::user_context(c.code);
                context.rflags = flags | 0xd5;  // carry, parity, auxiliary, zero, sign
                auto const& e = run(c, context);
                CHECK_EQUAL(e.registers.rip, c.stopped == nullptr ? c.address : stopped(c.stopped));
                CHECK_EQUAL(e.registers.rflags & ~std::uint64_t{0x108d5}, flags);
                CHECK_EQUAL(e.masked, mask_on_entry || (flags & 0x200) == 0);
            }

    // Ring 3 sets the bases of FS and GS itself; one that is not canonical faults there and then, in ring 3.
    guest::install_traps();
    for (auto const* const code : {user_fs_base, user_gs_base}) {
        for (auto const base : {0x0000800000000000ul, 0xffff7ffffffffffful, 1ul << 63}) {
            auto context = guest::user_context(code);
            context.r15 = base;
            auto const& r = guest::run_user(context).registers;
            CHECK((r.vector == 13 && r.error == 0 && r.rip == stopped(code)) || r.vector == 3);  // QEMU's TCG does not look
        }
        constexpr std::uint64_t base = 0x00007f1234567000;
        (void)run({code, nullptr, 3, 0, 0, base}, guest::user_context(code));  // of GS it looks there
        std::uint64_t fs = 0;
        asm volatile("rdfsbase %0" : "=r"(fs));
        CHECK_EQUAL(fs, base);
    }
    // A kernel stack in a page of the user's is a stack like any other: SMAP is off, for the hypervisor's stores too.
    constexpr std::uint64_t user_page = 0x700000;
    CHECK_EQUAL(guest::map_user(user_page, guest::pfn_of(guest::allocate_page()), 7), 0);
    auto const former_end = stack_end;
    stack_end = user_page + 4096;
    for (auto const& c : cases)
        if (c.vector != 13) (void)run(c, guest::user_context(c.code));
    stack_end = former_end;

    // Single step of ring 3, instruction by instruction; TF does not follow into the kernel.
    auto context = guest::user_context(user_nops);
    context.rflags = 0x302;
    for (std::uint64_t i = 1; i <= 3; ++i) {
        auto const& e = run({user_nops, nullptr, 1, 0, 0}, context);
        CHECK_EQUAL(e.registers.rip, stopped(user_nops) + i);
        CHECK_EQUAL(e.registers.rflags & 0x100, 0x100u);
        context = e.registers;
    }
}
