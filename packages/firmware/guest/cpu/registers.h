/*
 * Bits of control registers and model-specific registers, for C and assembly (Intel SDM vol 3, 2.5; vol 4, 2.1).
 */
#pragma once

#define CR0_PE (1 << 0)
#define CR0_ET (1 << 4)
#define CR0_NE (1 << 5)
#define CR0_WP (1 << 16)
#define CR0_PG (1 << 31)

#define CR4_PAE (1 << 5)

#define MSR_APIC_BASE 0x1b
#define MSR_EFER 0xc0000080
#define EFER_LME (1 << 8)
#define EFER_LMA (1 << 10)

#define RFLAGS_RESERVED (1 << 1)
#define RFLAGS_IF (1 << 9)

/* The local APIC, in memory (SDM vol 3, table 10-1). */
#define LAPIC_BASE 0xfee00000
#define LAPIC_ID 0x20
#define LAPIC_ID_SHIFT 24
