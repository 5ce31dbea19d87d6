// SPDX-License-Identifier: MIT
// The guest vDSO: runs in ring 1.  Offsets are ABI (paravane/vdso.h).  What Paravane does when an interrupt or a
// fault hits between the labels below is in vdso.cpp; a change here must be followed there.

.section .vdso, "ax"
.code64

.org 0x000
.global vdso_hypercall
vdso_hypercall:
    syscall
.global vdso_hypercall_return
vdso_hypercall_return:
    ret
// A hypercall that was interrupted goes on here (hypercall/dispatch.cpp): SYSCALL would overwrite R11, which says how far it is.
.global vdso_hypercall_again
vdso_hypercall_again:
    int $0x83
    ret

.org 0x040
.global vdso_return_from_trap
vdso_return_from_trap:                  // RSP: RIP CS RFLAGS RSP SS
    testb $3, 8(%rsp)
    jnz 2f
    orq $1, 8(%rsp)                     // the shown RPL 0 becomes ring 1 again
    movq $1, 32(%rsp)                   // kernel_ss
    testl $0x200, 16(%rsp)
    jz vdso_kernel_iretq
    movb $0, vcpu_event_mask(%rip)
.global vdso_kernel_unmasked, vdso_kernel_iretq
vdso_kernel_unmasked:
    cmpb $0, vcpu_event_pending(%rip)
    jne 1f
vdso_kernel_iretq:
    iretq
1:  int $0x82                           // Paravane finishes the return, then delivers

.global vdso_user_saved, vdso_user_iretq
2:  push %rax
vdso_user_saved:                        // RSP: RAX, then the frame
    mov vcpu_user_gs_base(%rip), %rax
    testl $0x200, 24(%rsp)
    jz 3f
    movb $0, vcpu_event_mask(%rip)
    cmpb $0, vcpu_event_pending(%rip)
    jne 4f
3:  wrgsbase %rax
.global vdso_user_restored              // from here ring 1 has the user's GS base: no handler of the guest may run
vdso_user_restored:
    pop %rax
vdso_user_iretq:
    iretq
.if vdso_user_iretq - vdso_user_restored != 1
.error "exception_on_ist (entry.S) takes this for one byte"
.endif
4:  int $0x82
    ud2                                 // so that the address after INT is still before the end
.global vdso_return_end
vdso_return_end:

.org 0x100
    movb $0, vcpu_event_mask(%rip)
    cmpb $0, vcpu_event_pending(%rip)
    jne 1f
    ret
1:  int $0x82
    ret

.org 0x140
    mov $0x501, %eax                    // PVN_SCHED_BLOCK
    jmp vdso_hypercall
