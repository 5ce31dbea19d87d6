/* SPDX-License-Identifier: MIT */
/*
 * The example kernel's assembly: what C cannot say.  docs/porting-guide.md goes through it step by step.
 */
#include <paravane/base.h>
#include <paravane/notes.h>
#include <paravane/slot.h>
#include <paravane/vdso.h>

/* Step 1: the notes by which Paravane knows the image. */
	.section .note.paravane, "a", @note
.macro NOTE type, value
	.long	9, 8, \type		/* sizes of name and value */
	.asciz	"Paravane"
	.balign	4
	.quad	\value
.endm
	NOTE	PVN_NOTE_ABI, PVN_ABI_VERSION
	NOTE	PVN_NOTE_ENTRY, entry
	NOTE	PVN_NOTE_VIRTUAL_BASE, 0xffffffff80000000
	NOTE	PVN_NOTE_FEATURES, PVN_FEATURE_PRIVILEGED

/* Step 1: the first instruction.  64-bit mode, ring 1, a stack, page tables, events masked; RSI: the start info. */
	.text
	.global	entry
entry:
	lea	kernel_stack_top(%rip), %rsp
	mov	%rsi, %rdi
	call	kernel_main
1:	ud2
	jmp	1b

/* Step 2: long hypercall(number, a0, a1, a2): from C's registers to the hypercall's. */
	.global	hypercall
hypercall:
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	movabs	$PVN_VDSO_HYPERCALL, %r11
	jmp	*%r11

/* Step 3: what a trap pushes looks as on bare metal; the stubs make all frames alike and call C. */
	.balign	16
	.global	trap_stubs
trap_stubs:
	.set	vector, 0
	.rept	33			/* 0 to 31, and int $0x80 */
	.balign	16
	.if	!(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
	push	$0			/* no error code */
	.endif
	push	$vector
	jmp	common
	.set	vector, vector + 1
	.endr

/* Step 4: the upcall; the frame is the same. */
	.balign	16
	.global	upcall_stub
upcall_stub:
	push	$0
	push	$256
	jmp	common

common:
	push	%rax
	push	%rbx
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%rbp
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	cld
	mov	%rsp, %rdi
	call	trap
	.global	return_to_frame
return_to_frame:
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rbp
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rbx
	pop	%rax
	add	$16, %rsp		/* vector and error code */
	/*
	 * Not IRETQ: that would neither set the virtual interrupt flag nor know of events that came meanwhile.  All registers
	 * are the interrupted code's by now, so the way there is through memory.
	 */
	jmp	*return_from_trap(%rip)

/*
 * Step 6: SYSCALL of ring 3.  RCX, R11 and RSP are as the CPU and the process left them; events are masked, so one place for the
 * process's stack pointer is enough while there is one vCPU.
 */
	.global	syscall_stub
syscall_stub:
	mov	%rsp, user_stack_pointer(%rip)
	lea	kernel_stack_top(%rip), %rsp
	push	$PVN_USER_SS
	push	user_stack_pointer(%rip)
	push	%r11
	push	$PVN_USER_CS
	push	%rcx
	push	$0
	push	$257
	jmp	common

	.data
return_from_trap:
	.quad	PVN_VDSO_RETURN_FROM_TRAP
user_stack_pointer:
	.quad	0

	.bss
	.balign	16
	.skip	16384
	.global	kernel_stack_top
kernel_stack_top:

/* Step 6: the process.  It sees its own pages only, at the addresses where the kernel puts them. */
	.section .user, "ax"
	.balign	PVN_PAGE_SIZE
	.global	user_start, user_end
user_start:
	mov	$1, %eax		/* write(text, length) */
	lea	1f(%rip), %rdi
	mov	$2f - 1f, %esi
	syscall
	mov	$0, %eax		/* exit(status) */
	mov	$42, %edi
	syscall
	ud2
1:	.ascii	"hello from ring 3\n"
2:
	.balign	PVN_PAGE_SIZE
user_end:
