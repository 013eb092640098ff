/*
 * An option ROM (BIOS Boot Specification 1.01, chapter 3 and appendix A): its headers say that it boots something, the BIOS
 * calls the bootstrap entry vector in real mode, and that leaves for protected mode with the BIOS's memory map and never
 * comes back.
 */
#include "layout.h"
#include "protected-mode.h"

#define SMAP 0x534d4150

	.section .header, "ax"
	.code16
header:
	.byte 0x55, 0xaa
	/* Size in 512 bytes, which the build fills in with the checksum. */
	.byte 0
	/* What the BIOS calls when it finds the ROM: there is nothing to set up. */
	lret
	.org 0x1a
	.word expansion_header

	.balign 16
expansion_header:
	.ascii "$PnP"
	.byte 1
	.byte (expansion_header_end - expansion_header) / 16
	.word 0			/* no further header */
	.byte 0
	.byte 0			/* checksum, of the build */
	.long 0
	.word manufacturer
	.word product
	.byte 0, 0, 0
	.byte 0
	.word 0			/* no boot connection vector: it is no disk */
	.word 0
	.word bootstrap_entry
	.word 0
	.word 0
expansion_header_end:

manufacturer:
	.asciz "tools-kvm"
product:
	.asciz "kernel of --kernel"

	.balign 4
gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt

bootstrap_entry:
	cld
	rdtsc
	pushl %edx
	pushl %eax
	/* int 15h, EAX e820h (ACPI 6.5, 15.1): an entry at ES:DI each, EBX says which is next. */
	movw $(BIOS_MAP_BASE >> 4), %ax
	movw %ax, %es
	xorw %di, %di
	xorl %ebx, %ebx
1:	movl $0xe820, %eax
	movl $SMAP, %edx
	movl $BIOS_MAP_ENTRY_BYTES, %ecx
	int $0x15
	jc 2f
	cmpl $SMAP, %eax
	jne 2f
	addw $BIOS_MAP_ENTRY_BYTES, %di
	testl %ebx, %ebx
	jz 2f
	cmpw $(BIOS_MAP_ENTRIES * BIOS_MAP_ENTRY_BYTES), %di
	jb 1b
2:	cli
	popl %esi
	popl %edx
	movzwl %di, %ebp
	movl %esi, %ebx
	/* The code's home is in RAM that is free while an operating system is loaded. */
	movw %cs, %ax
	movw %ax, %ds
	movw $(OPTION_BASE >> 4), %ax
	movw %ax, %es
	movw $header_size, %si
	xorw %di, %di
	movw $image_words, %cx
	rep movsl
	lgdtl gdt_pointer
	movl $CR0_PE_ET, %eax
	movl %eax, %cr0
	ljmpl $CODE_SELECTOR, $protected_mode

	.text
	.code32
protected_mode:
	FLAT_SEGMENTS_AND_STACK
	/* option_main(the time stamp counter at entry, bytes of the memory map) */
	pushl %ebp
	pushl %edx
	pushl %ebx
	call option_main

	.section .rodata
	.balign 8
gdt:	FLAT_DESCRIPTORS
gdt_end:

	.section .note.GNU-stack, "", @progbits
