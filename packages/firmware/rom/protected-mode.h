/*
 * Flat protected mode, for assembly: what both ways into C have in common.
 */
#pragma once

#include "layout.h"

/* Caches on, protected mode, no paging. */
#define CR0_PE_ET 0x11

/* Code and data (Intel SDM vol 3, 3.4.5), marked as accessed: in a ROM the CPU must have nothing to write here. */
	.macro FLAT_DESCRIPTORS
	.quad 0
	.quad 0
	.quad 0x00cf9b000000ffff
	.quad 0x00cf93000000ffff
	.endm

	.macro FLAT_SEGMENTS_AND_STACK
	movl $DATA_SELECTOR, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %eax, %fs
	movl %eax, %gs
	movl $WORK_END, %esp
	.endm
