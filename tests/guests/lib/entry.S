// SPDX-License-Identifier: MIT
// The first instructions of a test guest, its ELF notes, and its trap stubs.

.section .note.paravane, "a", @note
.macro NOTE type, value
    .long 9, 8, \type
    .asciz "Paravane"
    .balign 4
    .quad \value
.endm
NOTE 1, 1
NOTE 2, guest_entry
NOTE 3, 0xffffffff80000000
NOTE 5, 1

.section .text.entry, "ax"
.global guest_entry
guest_entry:
    mov %rsi, %rdi
    call guest_main_with_info
1:  ud2
    jmp 1b

.text
// long raw_hypercall(number, a0..a5)
.global raw_hypercall
raw_hypercall:
    push %rbp
    mov %rsp, %rbp
    mov %rdi, %rax
    mov %rsi, %rdi
    mov %rdx, %rsi
    mov %rcx, %rdx
    mov %r8, %r10
    mov %r9, %r8
    mov 16(%rbp), %r9
    mov vdso_hypercall_address(%rip), %r11
    call *%r11
    pop %rbp
    ret

// Frames as hardware makes them; the C++ handler gets all registers and may change them.
.macro TRAP n
    .balign 16
    .if !(\n == 8 || (\n >= 10 && \n <= 14) || \n == 17 || \n == 21)
    push $0
    .endif
    push $\n
    jmp common_trap
.endm
.balign 16
.global trap_stubs
trap_stubs:
.set v, 0
.rept 34
    TRAP v
    .set v, v + 1
.endr
common_trap:
    push %rax
    push %rbx
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %rbp
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    pushfq
    popq entry_flags(%rip)
    cld
    mov %rsp, %rdi
    call guest_trap
.global trap_return
trap_return:
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rbp
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rbx
    pop %rax
    add $16, %rsp
    jmp *vdso_return_address(%rip)

// SYSCALL from ring 3: RCX, R11 and RSP are the user's.  Makes the same frame as a trap, vector 64.
.global syscall_stub
syscall_stub:
    mov %rsp, syscall_user_rsp(%rip)
    mov vcpu_kernel_sp_address(%rip), %rsp
    mov (%rsp), %rsp
    push $0x2b
    push syscall_user_rsp(%rip)
    push %r11
    push $0x33
    push %rcx
    push $0
    push $64
    jmp common_trap

.data
.global vdso_hypercall_address
vdso_hypercall_address: .quad 0xffff800000010000
vdso_return_address: .quad 0xffff800000010040
vcpu_kernel_sp_address: .quad 0xffff800000080018
syscall_user_rsp: .quad 0
.global entry_flags
entry_flags: .quad 0

