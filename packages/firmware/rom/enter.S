/*
 * The last instructions before a kernel's first, or before none.
 */
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
	jmp *%ecx

	.globl halt
halt:
	cli
1:	hlt
	jmp 1b

	.section .note.GNU-stack, "", @progbits
