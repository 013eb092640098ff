/*
 * From reset to C. A CPU begins at 0xfffffff0 in real mode, with a code segment that starts 64 KiB below 4 GiB (Intel SDM
 * vol 3, 9.1.4); protected mode is five instructions away (9.9.1).
 */
#include "layout.h"
#include "protected-mode.h"

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
gdt:	FLAT_DESCRIPTORS
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
	FLAT_SEGMENTS_AND_STACK
	/* rom_main(the time stamp counter at reset) */
	pushl %edi
	pushl %esi
	call rom_main

	.section .note.GNU-stack, "", @progbits
