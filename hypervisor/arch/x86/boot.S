// SPDX-License-Identifier: MIT
// From the boot loader (Multiboot 1 or 2, 32-bit protected mode) to `hypervisor_main` in 64-bit mode.
// [mb1] 3.1.1 to 3.2, [mb2] 3.1.2 to 3.3

#define MB1_MAGIC 0x1badb002
#define MB1_FLAGS 0x00010007            // modules page aligned, memory map, address fields below are valid
#define MB2_MAGIC 0xe85250d6

.section .multiboot, "a"
.code32
.align 8
mb1_header:
    .long MB1_MAGIC, MB1_FLAGS, -(MB1_MAGIC + MB1_FLAGS)
    .long mb1_header, image_physical_start, image_load_end, image_physical_end, start
    .long 0, 0, 0, 0
.align 8
mb2_header:
    .long MB2_MAGIC, 0, mb2_header_end - mb2_header, -(MB2_MAGIC + mb2_header_end - mb2_header)
    .short 2, 0                         // address tag
    .long 24, mb2_header, image_physical_start, image_load_end, image_physical_end
    .short 3, 0                         // entry address tag
    .long 12, start, 0
    .short 6, 0                         // modules page aligned
    .long 8
    .short 0, 0
    .long 8
mb2_header_end:

.section .boot, "awx"
.code32
.global start
start:
    cli
    cld
    mov %eax, boot_magic - HIGH_BASE
    mov %ebx, boot_information - HIGH_BASE
    mov $(boot_stack_top - HIGH_BASE), %esp

    // Long mode and NX, or a clear word: CPUID 0x80000001 EDX bits 29 and 20.
    mov $0x80000000, %eax
    cpuid
    cmp $0x80000001, %eax
    jb no_long_mode
    mov $0x80000001, %eax
    cpuid
    and $0x20100000, %edx
    cmp $0x20100000, %edx
    jne no_long_mode

    // 0 to 1 GiB at 0 and at HIGH, in 2 MiB pages.
    mov $(boot_l2 - HIGH_BASE), %edi
    mov $0x83, %eax
1:  mov %eax, (%edi)
    add $8, %edi
    add $0x200000, %eax
    cmp $0x40000083, %eax
    jne 1b
    movl $(boot_l2 - HIGH_BASE + 3), boot_l3 - HIGH_BASE
    movl $(boot_l2 - HIGH_BASE + 3), boot_l3 - HIGH_BASE + 510 * 8
    movl $(boot_l3 - HIGH_BASE + 3), boot_l4 - HIGH_BASE
    movl $(boot_l3 - HIGH_BASE + 3), boot_l4 - HIGH_BASE + 511 * 8

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
    lgdt boot_gdt_pointer
    ljmp $0x08, $long_mode

no_long_mode:
    mov $no_long_mode_text, %esi
2:  lodsb
    test %al, %al
    jz 3f
    mov $0x3f8, %dx
    outb %al, %dx
    jmp 2b
3:  hlt
    jmp 3b
no_long_mode_text: .asciz "Paravane: this CPU has no 64-bit mode or no execute-disable bit; it cannot run here\n"

.align 8
boot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdt_pointer:
    .short boot_gdt_pointer - boot_gdt - 1
    .quad boot_gdt

.code64
long_mode:
    mov $0x10, %eax
    mov %eax, %ss
    mov %eax, %ds
    mov %eax, %es
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov $boot_stack_top, %rsp
    xor %ebp, %ebp
    mov boot_magic, %edi
    mov boot_information, %esi
    movabs $hypervisor_main, %rax
    call *%rax
    ud2

.set HIGH_BASE, 0xffffffff80000000

.section .data
.align 8
boot_magic: .long 0
boot_information: .long 0

.section .bss
.align 4096
.global boot_l4
boot_l4: .skip 4096
boot_l3: .skip 4096
boot_l2: .skip 4096
boot_stack: .skip 16384
boot_stack_top:
