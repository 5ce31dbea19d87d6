// SPDX-License-Identifier: MIT
// The entry stubs: all ways from a guest into ring 0.  They run on the guest's tables, from the slot.
//
// Between residences in ring 0 a guest kernel can write the entry stack and the vCPU page; it
// can only read the CPU tables and constants.  So nothing on the stack is used here that was not put there by the
// CPU or by these stubs since the entry, and what comes from the vCPU page is only used as a ring-1 RIP, a
// stack pointer that is checked, or a GS base.  docs/invariants.md lists the rules; each stub names those it keeps.

#define KERNEL_CS 0x11                  // ring 1
#define KERNEL_SS 1                     // kernel_ss (registers.hpp)
#define SHOWN_KERNEL_SS 0x18
#define ENTRY_FLAGS 0x202               // IF; everything else clear (rule 8)
#define FLAG_IF 0x200
#define SLOT_PREFIX 0x1ffff00           // address >> 39 of the slot

#define TRAP_MASK_EVENTS 1
#define TRAP_FROM_USER 2

// Frame of the full path, from the top of the entry stack down: SS RSP RFLAGS CS RIP error vector, then these.
.macro PUSH_REGISTERS
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
.endm
.macro POP_REGISTERS
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
.endm

// Calls C++, which is too far for a direct call.  A retpoline: where a guest has trained the CPU to go does not count.
.macro CALL_C function
    movabs $\function, %rax
    call 97f
    jmp 99f
97: call 98f
    int3                                // speculation ends here
98: mov %rax, (%rsp)
    ret
99:
.endm

.section .slot_text, "ax"
.code64

// --- SYSCALL -----------------------------------------------------------------------------------------------------
// SYSCALL puts the return address in RCX and saves no CS ([sdm/2] SYSCALL).  The guest vDSO is supervisor only, so an
// RCX inside it can only come from ring 1: that tells a hypercall from a system call.  Interrupts are off, and what may
// come nevertheless has a stack of its own: so RSP is free once it is where the frame has it.
.macro FRAME_OF_SYSCALL ss, rflags, cs
    lea slot_entry_rsp(%rip), %rsp
    movq \ss, 8(%rsp)
    push \rflags
    push \cs
.endm
.macro SYSTEM_CALL entry, no_entry
    cmpq $0, \entry(%rip)
    je \no_entry
    rdgsbase %rsp
    mov %rsp, vcpu_user_gs_base(%rip)
    FRAME_OF_SYSCALL $KERNEL_SS, $ENTRY_FLAGS, $KERNEL_CS
    push \entry(%rip)
    push %rax
    mov vcpu_kernel_gs_base(%rip), %rax
    wrgsbase %rax                       // not canonical: stub_fault
    pop %rax
    movb $1, vcpu_event_mask(%rip)
    iretq
.endm

.global stub_syscall
.align 16
stub_syscall:
    mov %rsp, slot_entry_rsp(%rip)
    lea vdso_hypercall_return(%rip), %rsp
    cmp %rsp, %rcx
    je hypercall
    SYSTEM_CALL vcpu_syscall_entry, no_syscall_entry

hypercall:
    FRAME_OF_SYSCALL $KERNEL_SS, %r11, $KERNEL_CS
    push %rcx
    push $0
    push $256                           // Vector::hypercall
    PUSH_REGISTERS
    jmp enter_hypervisor

// SYSCALL from 32-bit code: never a hypercall, since no 32-bit code runs in ring 1.
.global stub_compat_syscall
.align 16
stub_compat_syscall:
    mov %rsp, slot_entry_rsp(%rip)
    SYSTEM_CALL vcpu_compat_syscall_entry, no_compat_syscall_entry

// A kernel without that entry: the instruction does not exist (#UD), as with EFER.SCE clear.  SYSCALL has two bytes.
// Ring 1 may come here too; it is shown as ring 3, where it would have been of use.
no_syscall_entry:
    FRAME_OF_SYSCALL $0x2b, %r11, $0x33
    jmp 1f
no_compat_syscall_entry:
    FRAME_OF_SYSCALL $0x2b, %r11, $0x23
1:  push %rcx
    subq $2, (%rsp)
    push $0
    push $6
    PUSH_REGISTERS
    jmp enter_hypervisor

// --- INT3 and INTO ------------------------------------------------------------------------------------------------
// Their gates have DPL 3.  A guest kernel that did not allow them to ring 3 (PVN_TRAP_FROM_USER) sees #GP, which takes a
// look at the instruction: the full path.  In ring 1 they are always its own.
.macro SOFTWARE_EXCEPTION vector
    testb $2, 24(%rsp)
    jz exception
    testb $TRAP_FROM_USER, vcpu_trap + \vector * 16 + 8(%rip)
    jz interrupt
    jmp exception
.endm
.align 16
breakpoint:
    SOFTWARE_EXCEPTION 3
overflow:
    SOFTWARE_EXCEPTION 4

// --- exceptions --------------------------------------------------------------------------------------------------
// Stack: vector, error, RIP CS RFLAGS RSP SS.  A fault that is the guest's own is handed to it here, without leaving
// its address space.
.align 16
exception:
    testb $3, 24(%rsp)
    jz from_ring_0
    push %rax
    push %rcx
    push %rdx
    mov 24(%rsp), %eax
    cmp $14, %eax
    je 4f
    testb $2, 48(%rsp)                  // from ring 1 (CPL 1)?
    jnz 1f
    lea -10(%rax), %ecx                 // its #GP may be a privileged instruction; #TS, #NP, #SS and #GP those of a
    cmp $3, %ecx                        // frame in return_from_trap
    jbe full_path
1:  shl $4, %eax
    lea vcpu_trap(%rip), %rdx
    add %rax, %rdx
    cmpq $0, (%rdx)                     // no handler: the hypervisor decides
    je full_path
    testb $2, 48(%rsp)
    jz 2f
    rdgsbase %rcx                       // from ring 3: the kernel's GS base and stack
    mov %rcx, vcpu_user_gs_base(%rip)
    mov vcpu_kernel_gs_base(%rip), %rcx
    wrgsbase %rcx
    mov vcpu_kernel_sp(%rip), %rcx
    jmp 3f
2:  mov 64(%rsp), %rcx                  // from ring 1: its current stack
3:  and $-16, %rcx
    lea -8(%rcx), %rax                  // rule 4: no store to the slot; one that faults ends in stub_fault
    shr $39, %rax
    cmp $SLOT_PREFIX, %eax
    je full_path
    lea -48(%rcx), %rax
    shr $39, %rax
    cmp $SLOT_PREFIX, %eax
    je full_path

    mov 72(%rsp), %rax                  // SS
    mov 48(%rsp), %edx                  // CS
    test $2, %dl
    jnz 5f
    mov $SHOWN_KERNEL_SS, %eax
    and $-4, %edx                       // shown with RPL 0
5:  mov %rax, -8(%rcx)
    mov 64(%rsp), %rax
    mov %rax, -16(%rcx)
    mov 56(%rsp), %rax
    cmpb $0, vcpu_event_mask(%rip)
    je 6f
    and $~FLAG_IF, %eax                 // RFLAGS shows the virtual interrupt flag (bits above 31 are zero)
6:  mov %rax, -24(%rcx)
    mov %rdx, -32(%rcx)
    mov 40(%rsp), %rax
    mov %rax, -40(%rcx)
    mov 24(%rsp), %eax
    mov $0x00227d00, %edx               // vectors with an error code: 8, 10 to 14, 17, 21
    bt %eax, %edx
    jnc 7f
    mov 32(%rsp), %rdx
    mov %rdx, -48(%rcx)
    lea -48(%rcx), %rcx
    jmp 8f
7:  lea -40(%rcx), %rcx
8:  shl $4, %eax
    lea vcpu_trap(%rip), %rdx
    add %rax, %rdx
    mov (%rdx), %rax
    testb $TRAP_MASK_EVENTS, 8(%rdx)
    jz 9f
    movb $1, vcpu_event_mask(%rip)
9:  mov %rax, 40(%rsp)                  // rule 3: the frame, after the last store to the guest
    movq $KERNEL_CS, 48(%rsp)
    movq $ENTRY_FLAGS, 56(%rsp)
    mov %rcx, 64(%rsp)
    movq $KERNEL_SS, 72(%rsp)
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq

// Page fault.  A protection fault by a ring-1 write to the upper half may be a store to a page table.
4:  testb $2, 48(%rsp)
    jnz 10f
    mov 32(%rsp), %ecx
    and $3, %ecx
    cmp $3, %ecx
    jne 10f
    mov %cr2, %rcx
    test %rcx, %rcx
    js full_path
10: mov %cr2, %rcx
    mov %rcx, vcpu_fault_address(%rip)
    jmp 1b

full_path:
    pop %rdx
    pop %rcx
    pop %rax
    PUSH_REGISTERS
// RSP: a complete frame on the entry stack.
enter_hypervisor:
    mov %rsp, %rdi
    mov slot_hypervisor_cr3(%rip), %rax
    mov %rax, %cr3
    movabs $cpu_stack_top, %rsp
    xor %ebp, %ebp
    cld
    CALL_C enter_from_guest
// The frame of the vCPU to run is on top of the entry stack.
.global leave_to_guest
leave_to_guest:
    lea slot_entry_stack_top - 176(%rip), %rsp
    mov slot_guest_cr3(%rip), %rax
    mov %rax, %cr3
    POP_REGISTERS
    add $16, %rsp
.global leave_iretq
leave_iretq:
    iretq

// An interrupt or fault that hit ring 0: a stub (its text is in the slot), or the hypervisor.
from_ring_0:
    PUSH_REGISTERS
    mov 17 * 8(%rsp), %rax
    shr $39, %rax
    cmp $SLOT_PREFIX, %eax
    je 1f
    mov %rsp, %rdi                      // the hypervisor itself: its root is loaded, its stack is good
    cld
    mov %rsp, %rbp
    and $-16, %rsp
    CALL_C trap_in_hypervisor
    mov %rbp, %rsp
    POP_REGISTERS
    add $16, %rsp
    iretq
1:  mov %rsp, %rdi                      // a stub: it will not be resumed
    mov %cr2, %rsi
    mov slot_hypervisor_cr3(%rip), %rax
    mov %rax, %cr3
    movabs $cpu_stack_top, %rsp
    xor %ebp, %ebp
    cld
    CALL_C stub_fault
    jmp leave_to_guest

// Interrupts: from a guest always the full path; from the hypervisor only where it waits.
.align 16
interrupt:
    testb $3, 24(%rsp)
    jz from_ring_0
    PUSH_REGISTERS
    jmp enter_hypervisor

// --- on stacks of their own: NMI, #DB, #DF, #MC ---------------------------------------------------------------------
// From a guest the frame moves to the entry stack and goes on as usual.  From ring 0: an NMI or #DB at any instruction of
// a stub is survived (rule 9); it can hit on either root, so the hypervisor is not entered and CR3 is not touched.
.align 16
exception_on_ist:                       // stack as at `exception`
    testb $3, 24(%rsp)
    jz ist_from_ring_0
    push %rax                           // RSP: RAX vector error RIP CS RFLAGS RSP SS
    lea slot_entry_stack_top - 56(%rip), %rax
    push %rcx
    .set i, 0
    .rept 7
    mov 16 + i(%rsp), %rcx
    mov %rcx, i(%rax)
    .set i, i + 8
    .endr
    pop %rcx
    xchg %rax, (%rsp)
    pop %rsp
    cmpl $1, (%rsp)                     // #DB is the guest's; NMI, #DF and #MC are Paravane's
    jne interrupt
    testb $2, 24(%rsp)
    jnz exception
    push %rax                           // but not where return_from_trap has loaded the user's GS base: at the instruction
    lea vdso_user_restored(%rip), %rax  // after that, and the next
    neg %rax
    add 24(%rsp), %rax
    cmp $1, %rax
    pop %rax
    ja exception
    jmp interrupt

ist_from_ring_0:
    cmpl $1, (%rsp)                     // #DB: drop it; no breakpoint of a guest may watch the slot, so only MOV SS
    je 1f                               // can delay one into a stub
    cmpl $2, (%rsp)
    jne fatal
    push %rax                           // NMI: in a stub, on either root, there is nothing to say
    mov 24(%rsp), %rax
    shr $39, %rax
    cmp $SLOT_PREFIX, %eax
    pop %rax
    je 2f
    PUSH_REGISTERS                      // in the hypervisor's own text: its root is loaded
    mov %rsp, %rdi
    mov %rsp, %rbp
    and $-16, %rsp
    cld
    CALL_C nmi_in_hypervisor
    mov %rbp, %rsp
    POP_REGISTERS
2:  add $16, %rsp
    iretq
1:  orl $0x10000, 32(%rsp)              // RF: a breakpoint on an instruction of the hypervisor would hit again for ever
    push %rax
    xor %eax, %eax
    mov %rax, %dr6
    pop %rax
    add $16, %rsp
    iretq

fatal:                                  // #DF or #MC in ring 0
    PUSH_REGISTERS
    mov %rsp, %rdi
    mov slot_hypervisor_cr3(%rip), %rax
    mov %rax, %cr3
    cld
    CALL_C fatal_trap
    ud2

// --- vectors -----------------------------------------------------------------------------------------------------
.macro STUB vector, error, target
    .align 16
    .if \error == 0
    push $0
    .endif
    push $\vector
    jmp \target
.endm

.align 16
.global stub_vectors
stub_vectors:
.set v, 0
.rept 256
    .if v == 1 || v == 2 || v == 18
        STUB v, 0, exception_on_ist
    .elseif v == 3
        STUB v, 0, breakpoint
    .elseif v == 4
        STUB v, 0, overflow
    .elseif v == 8
        STUB v, 1, exception_on_ist
    .elseif v == 10 || v == 11 || v == 12 || v == 13 || v == 14 || v == 17 || v == 21
        STUB v, 1, exception
    .elseif v < 32
        STUB v, 0, exception
    .else
        STUB v, 0, interrupt
    .endif
    .set v, v + 1
.endr
