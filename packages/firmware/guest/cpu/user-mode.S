/*
 * The way to CPL3 and back (IRET to an outer level and an interrupt from there: Intel SDM vol 3, 6.12.1 and 6.14), and
 * the code that runs there.
 */
#include "cpu/registers.h"
#include "layout.h"
#include "machine/ports.h"

	.text
	.globl enter_user
enter_user:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushq %rsi
	pushq %rdi
	call user_prepare
	popq %rdi
	popq %rcx
	movq %rsp, CPU_MONITOR_RSP(%rax)
	/* The exception that ends this pushes its frame below what is on the stack now. */
	movq %rsp, CPU_TSS_RSP0(%rax)
	pushq $USER_DATA_SELECTOR
	pushq $0
	pushq $RFLAGS_RESERVED
	pushq $USER_CODE_SELECTOR
	pushq %rdi
	iretq

	.globl leave_user
leave_user:
	movq %rdi, %rsp
	movq %rsi, %rax
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.section .user, "ax"
	.globl user_nothing, user_pio_loop, user_spin_loop, user_load
user_nothing:
	ud2

user_pio_loop:
	outb %al, $TESTDEV_LATCH
	decq %rcx
	jnz user_pio_loop
	ud2

user_spin_loop:
	decq %rcx
	jnz user_spin_loop
	ud2

/* Jobs written in C (virtio/user-jobs.c): a stack, and the argument where C has it. */
	.globl user_blk_job, user_net_job
user_blk_job:
	leaq user_blk_run(%rip), %rax
	jmp user_call
user_net_job:
	leaq user_net_run(%rip), %rax
user_call:
	movq $USER_STACK_TOP, %rsp
	movq %rcx, %rdi
	call *%rax
	ud2

user_load:
	movb (%rcx), %al
	ud2
