// SPDX-License-Identifier: MIT
// Where a further CPU begins: real mode, at the page that the start-up interrupt names ([sdm/3] 8.4).  Copied to TRAMPOLINE, it
// takes the same way as boot.S: protected mode, the boot tables, long mode.

#define TRAMPOLINE 0x8000               // trampoline.hpp
#define HERE(label) (TRAMPOLINE + (label) - trampoline_start)

.set HIGH_BASE, 0xffffffff80000000

.section .rodata
.balign 16
.global trampoline_start, trampoline_end
.code16
trampoline_start:
    cli
    cld
    xor %ax, %ax
    mov %ax, %ds
    lgdtl HERE(trampoline_gdt_pointer)
    mov %cr0, %eax
    or $1, %eax
    mov %eax, %cr0
    ljmpl $0x08, $HERE(1f)

.code32
1:  mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov %cr4, %eax
    or $0x20, %eax                      // PAE
    mov %eax, %cr4
    mov $(boot_l4 - HIGH_BASE), %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx               // EFER: LME, NXE, SCE
    rdmsr
    or $0x901, %eax
    wrmsr
    mov $0x80010033, %eax               // PG WP NE ET MP PE
    mov %eax, %cr0
    ljmpl $0x18, $HERE(2f)

.code64
2:  xor %eax, %eax
    mov %eax, %ss
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    movabs $secondary_stack_top, %rsp
    xor %ebp, %ebp
    movabs $secondary_main, %rax
    call *%rax
    ud2

.balign 8
trampoline_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
trampoline_gdt_pointer:
    .short trampoline_gdt_pointer - trampoline_gdt - 1
    .long HERE(trampoline_gdt)
trampoline_end:

.section .bss
.balign 16
    .skip 4096
secondary_stack_top:
