/*
 * What each CPU has for itself.
 */
#pragma once

#include "layout.h"
#include "types.h"

/*
 * 64-bit task state segment (Intel SDM vol 3, 7.7): of all it could hold, the stack for leaving CPL3, and which of the
 * first 256 ports CPL3 may use: those whose bit is clear, in a map that a byte of ones ends (SDM vol 1, "I/O Permission
 * Bit Map").
 */
struct tss {
	u32 reserved0;
	u64 rsp0;
	u64 others[11];
	u16 reserved1;
	u16 io_map_offset;
	u8 io_map[256 / 8];
	u8 io_map_end;
} __attribute__((packed));

struct cpu {
	u32 apic_id;
	bool online;
	/* Where enter_user() left its caller. */
	u64 monitor_rsp;
	/* The last job this CPU has seen (cpu/smp.c). */
	u32 job;
	/* Interrupts that have arrived here. */
	volatile u32 timer_interrupts;
	volatile u32 serial_interrupts;
	/* A GDT of its own, once this CPU has been to CPL3: the common one and the descriptor of the TSS. */
	u64 gdt[8];
	u32 tss_alignment;
	struct tss tss;
};

/* Areas: the boot CPU's, then one for each APIC id. */
extern u8 cpu_areas[][CPU_AREA_BYTES];

/* The stack pointer tells which CPU this is. */
static inline struct cpu *this_cpu(void)
{
	u64 rsp;
	asm volatile("movq %%rsp, %0" : "=r"(rsp));
	return (struct cpu *)((rsp - 1) & ~(u64)(CPU_AREA_BYTES - 1));
}

static inline bool is_boot_cpu(void)
{
	return (void *)this_cpu() == cpu_areas[0];
}
