// SPDX-License-Identifier: MIT
// Where labels of the slot lie: too far from the image for the addresses that the compiler makes.  slot_addresses.hpp
.section .rodata
.balign 8
.global slot_addresses
slot_addresses:
    .quad stub_syscall, stub_compat_syscall, stub_vectors, slot_text_end, leave_to_guest, leave_iretq
    .quad vdso_hypercall_again, vdso_kernel_unmasked, vdso_user_saved, vdso_user_restored, vdso_user_iretq, vdso_return_end
