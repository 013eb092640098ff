/*
 * From reset to C. A CPU begins at 0xfffffff0 in real mode, with a code segment that starts 64 KiB below 4 GiB (Intel SDM
 * vol 3, 9.1.4); protected mode is five instructions away (9.9.1).
 */
#include "layout.h"

/* Caches on, protected mode, no paging. */
#define CR0_PE_ET 0x11

/* An address in the ROM as real mode has it. */
#define REAL(label) (RESET_BASE - ROM_BASE + label - reset_section)

	.section .reset, "ax"
	.code16
reset_section:
real_mode:
	cli
	cld
	rdtsc
	movl %eax, %esi
	movl %edx, %edi
	lgdtl %cs:REAL(gdt_pointer)
	movl $CR0_PE_ET, %eax
	movl %eax, %cr0
	ljmpl $CODE_SELECTOR, $protected_mode

	.balign 8
/* Flat code and data (SDM vol 3, 3.4.5), marked as accessed: the CPU must have nothing to write here. */
gdt:	.quad 0
	.quad 0
	.quad 0x00cf9b000000ffff
	.quad 0x00cf93000000ffff
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt

	.org RESET_VECTOR - RESET_BASE
	jmp real_mode
	.org 0x100

	.text
	.code32
protected_mode:
	movl $DATA_SELECTOR, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %eax, %fs
	movl %eax, %gs
	movl $WORK_END, %esp
	/* rom_main(the time stamp counter at reset) */
	pushl %edi
	pushl %esi
	call rom_main

/* What a kernel is given in registers; see boot/boot.h. */
	.globl enter_kernel
enter_kernel:
	movl 4(%esp), %edx
	movl (%edx), %ecx
	movl 4(%edx), %eax
	movl 8(%edx), %ebx
	movl 12(%edx), %esi
	xorl %edi, %edi
	xorl %ebp, %ebp
	jmp *%ecx

	.globl halt
halt:
	cli
1:	hlt
	jmp 1b

	.section .note.GNU-stack, "", @progbits
