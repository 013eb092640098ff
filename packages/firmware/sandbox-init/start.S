/* Where the kernel enters the program: argc is at the top of the stack (System V ABI for x86-64, 3.4.1). */
	.globl _start
_start:
	xor %ebp, %ebp
	and $-16, %rsp
	call sandbox_init
	ud2
	.section .note.GNU-stack, "", @progbits
