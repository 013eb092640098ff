/*
 * From the loader to C: both protocols enter in 32-bit protected mode with flat segments, paging and interrupts off
 * (Multiboot 0.6.96, 3.2; Xen, docs/misc/pvh.pandoc). The way to 64-bit mode is Intel SDM vol 3, 9.8.5. Application
 * processors join it behind their trampoline.
 *
 * Little happens here on purpose: some hosts take a microsecond for each of these instructions.
 */
#include "cpu/registers.h"
#include "layout.h"
#include "machine/ports.h"

	.section .text.entry, "ax"

/* Takes a CPU that runs flat 32-bit code to 64-bit mode. Leaves EBX, EBP, ESI, EDI and ESP alone. */
.macro ENTER_LONG_MODE target
	lgdt gdt_pointer
	movl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $page_map_level_4, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	movl $EFER_LME, %eax
	xorl %edx, %edx
	wrmsr
	movl $(CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG), %eax
	movl %eax, %cr0
	ljmp $CODE64_SELECTOR, $\target
.endm

/* What C expects of the segment registers; without interrupts the IDT only serves exceptions. */
.macro LOAD_SEGMENTS
	movl $DATA_SELECTOR, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	lidt idt_pointer
.endm

	.code32
	.globl multiboot_entry, pvh_entry
pvh_entry:
	xorl %eax, %eax
multiboot_entry:
	cli
	cld
	movl %eax, %edi
	movl %ebx, %esi
	movw $PM_TIMER, %dx
	inl %dx, %eax
	movl %eax, %ebp
	ENTER_LONG_MODE boot_cpu_entry

	.code64
boot_cpu_entry:
	LOAD_SEGMENTS
	movl $(cpu_areas + CPU_AREA_BYTES), %esp
	/* guest_main(magic or 0, boot information, PM timer at entry) */
	movl %edi, %edi
	movl %esi, %esi
	movl %ebp, %edx
	xorl %ebp, %ebp
	call guest_main

/* Where a CPU goes that has nothing more to do. */
	.globl halt_forever
halt_forever:
	cli
1:	hlt
	jmp 1b

/* An application processor, flat and in 32-bit mode: its APIC id chooses its area, the first being the boot CPU's. */
	.code32
	.globl ap_protected_mode
ap_protected_mode:
	movl $DATA_SELECTOR, %eax
	movl %eax, %ds
	movl %eax, %ss
	movl (LAPIC_BASE + LAPIC_ID), %ebp
	shrl $LAPIC_ID_SHIFT, %ebp
	cmpl $MAX_CPUS, %ebp
	jae 1f
	leal 2(%ebp), %esp
	imull $CPU_AREA_BYTES, %esp
	addl $cpu_areas, %esp
	ENTER_LONG_MODE ap_long_mode
1:	cli
	hlt
	jmp 1b

	.code64
ap_long_mode:
	LOAD_SEGMENTS
	movl %esp, %esp
	movl %ebp, %edi
	xorl %ebp, %ebp
	call ap_main
	jmp halt_forever

/* Code that the boot CPU copies below 1 MiB, where a start-up IPI finds it: real mode, CS:0 (SDM vol 3, 8.4.4). */
	.section .rodata
	.code16
	.globl ap_trampoline, ap_trampoline_end
ap_trampoline:
	cli
	movw %cs, %ax
	movw %ax, %ds
	lgdtl trampoline_gdt_pointer - ap_trampoline
	movl %cr0, %eax
	orl $CR0_PE, %eax
	movl %eax, %cr0
	ljmpl $CODE32_SELECTOR, $ap_protected_mode
trampoline_gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt
ap_trampoline_end:
	.code64

/* Descriptors (SDM vol 3, 3.4.5), in the order of the selectors in layout.h. */
	.balign 8
	.globl gdt, gdt_end
gdt:	.quad 0
	.quad 0x00cf9b000000ffff	/* code, 32-bit, flat */
	.quad 0x00af9b000000ffff	/* code, 64-bit */
	.quad 0x00cf93000000ffff	/* data, flat */
	.quad 0x00cff3000000ffff	/* data, DPL 3 */
	.quad 0x00affb000000ffff	/* code, 64-bit, DPL 3 */
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt
idt_pointer:
	.word 16 * VECTOR_COUNT - 1
	.quad idt
