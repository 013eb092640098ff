/*
 * The last instructions before a kernel's first, or before none.
 */
#include "layout.h"

#define CR0_PG (1 << 31)
#define CR4_PAE (1 << 5)
#define MSR_EFER 0xc0000080
#define EFER_LME (1 << 8)

	.text
	.code32
/* What a kernel is given in registers; struct entry of boot/boot.h. */
	.globl enter_kernel
enter_kernel:
	movl 4(%esp), %edx
	movl (%edx), %ecx
	movl 4(%edx), %eax
	movl 8(%edx), %ebx
	movl 12(%edx), %esi
	xorl %edi, %edi
	xorl %ebp, %ebp
	cmpl $0, 16(%edx)
	jne enter_long_mode
	jmp *%ecx

/* Intel SDM vol 3, 9.8.5: PAE, the page tables, LME, paging, and a code segment of 64 bits. */
enter_long_mode:
	pushl %ecx
	lgdtl long_gdt_pointer
	movl %cr4, %eax
	orl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $PAGE_TABLES, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	popl %ecx
	movl %cr0, %eax
	orl $CR0_PG, %eax
	movl %eax, %cr0
	ljmpl $CODE_SELECTOR, $long_mode
	.code64
long_mode:
	movl $DATA_SELECTOR, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	/* Upper halves are not defined after the switch (SDM vol 1, 3.4.1.1). */
	movl %ecx, %ecx
	movl %esi, %esi
	xorl %eax, %eax
	xorl %ebx, %ebx
	jmp *%rcx
	.code32

	.globl halt
halt:
	cli
1:	hlt
	jmp 1b

	.section .rodata
	.balign 8
/* As FLAT_DESCRIPTORS, but that the code has 64 bits. */
long_gdt:
	.quad 0
	.quad 0
	.quad 0x00af9b000000ffff
	.quad 0x00cf93000000ffff
long_gdt_end:
long_gdt_pointer:
	.word long_gdt_end - long_gdt - 1
	.long long_gdt

	.section .note.GNU-stack, "", @progbits
