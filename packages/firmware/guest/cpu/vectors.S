/*
 * The interrupt descriptor table and the entries of the exceptions (Intel SDM vol 3, 6.11, 6.12 and 6.14). The table
 * is complete in the file, as the address of every handler is IMAGE_BASE plus less than 64 KiB.
 */
#include "layout.h"

#define INTERRUPT_GATE 0x8e00

.macro GATE handler
	.word \handler - IMAGE_BASE
	.word CODE64_SELECTOR
	.word INTERRUPT_GATE
	.word IMAGE_BASE >> 16
	.quad 0
.endm

/* Some exceptions push an error code; the others get a zero in its place, so that all frames are alike. */
.macro EXCEPTION vector, has_error=0
exception_\vector:
	.if !\has_error
	pushq $0
	.endif
	pushq $\vector
	jmp exception
	.section .idt_entries
	GATE exception_\vector
	.text
.endm

	.section .idt_entries, "a"
	.balign 16
	.globl idt
idt:
	.text
	EXCEPTION 0
	EXCEPTION 1
	EXCEPTION 2
	EXCEPTION 3
	EXCEPTION 4
	EXCEPTION 5
	EXCEPTION 6
	EXCEPTION 7
	EXCEPTION 8, has_error=1
	EXCEPTION 9
	EXCEPTION 10, has_error=1
	EXCEPTION 11, has_error=1
	EXCEPTION 12, has_error=1
	EXCEPTION 13, has_error=1
	EXCEPTION 14, has_error=1
	EXCEPTION 15
	EXCEPTION 16
	EXCEPTION 17, has_error=1
	EXCEPTION 18
	EXCEPTION 19
	EXCEPTION 20
	EXCEPTION 21, has_error=1
	EXCEPTION 22
	EXCEPTION 23
	EXCEPTION 24
	EXCEPTION 25
	EXCEPTION 26
	EXCEPTION 27
	EXCEPTION 28
	EXCEPTION 29, has_error=1
	EXCEPTION 30, has_error=1
	EXCEPTION 31

	.section .idt_entries
	/* In the order of their vectors, layout.h. */
	GATE timer_interrupt
	GATE serial_interrupt
	GATE job_interrupt
	.rept VECTOR_COUNT - JOB_VECTOR - 1
	GATE spurious_interrupt
	.endr

/* Makes a `struct exception` on the stack and shows it to exception_handle(). */
	.text
exception:
	pushq %rax
	pushq %rbx
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %rbp
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, %rdi
	cld
	call exception_handle
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rbp
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rbx
	popq %rax
	addq $16, %rsp
	iretq
