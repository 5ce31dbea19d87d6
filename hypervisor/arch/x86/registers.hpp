// SPDX-License-Identifier: MIT
// The registers of an interrupted context, as the stubs push them on the entry stack (entry.S).
#pragma once

#include <cstddef>
#include <cstdint>

namespace pvn {

struct Registers {
    std::uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    std::uint64_t vector, error;
    std::uint64_t rip, cs, rflags, rsp, ss;

    // RPL of CS: 1 in the guest kernel, 3 in its applications.
    bool from_user() const { return (cs & 3) == 3; }
};
static_assert(sizeof(Registers) == 176 && offsetof(Registers, rip) == 17 * 8);

// SS of ring 1: null, which 64-bit code may have below CPL 3, so that IRETQ has no descriptor to load.  Frames that a guest
// sees show PVN_KERNEL_SS.  [sdm/2] IRET; [sdm/3] 5.4.1.1 (null segment checking in 64-bit mode)
inline constexpr std::uint64_t kernel_ss = 1;

namespace flags {
inline constexpr std::uint64_t reserved_one = 1 << 1, trap = 1 << 8, interrupt = 1 << 9, direction = 1 << 10, iopl = 3 << 12,
                               nested = 1 << 14, resume = 1 << 16, vm86 = 1 << 17, ac = 1 << 18, id = 1 << 21;
inline constexpr std::uint64_t arithmetic = 0x8d5;
// What a guest's saved RFLAGS may hold; interrupt is forced, everything else cleared (rule 8 of the slot).
inline constexpr std::uint64_t kernel_visible = arithmetic | reserved_one | trap | direction | resume | ac | id;
// An application's NT is its own: IRETQ looks at NT of whoever executes it, and every entry to ring 0 or ring 1 clears that.
// [sdm/2] IRET, SYSCALL; [sdm/3] 6.12.1 (flag usage)
inline constexpr std::uint64_t user_visible = kernel_visible | nested;
}  // namespace flags

namespace vector {
inline constexpr std::uint64_t debug = 1, nmi = 2, breakpoint = 3, overflow = 4, invalid_opcode = 6, double_fault = 8, stack = 12,
                               general_protection = 13, page_fault = 14, machine_check = 18, int80 = 0x80, upcall = 0x82, again = 0x83,
                               first_irq = 0x90, last_irq = 0xef, timer = 0xf0, ipi = 0xf1, spurious = 0xff, hypercall = 256;
}

}  // namespace pvn
