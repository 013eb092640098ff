/*
 * Addresses and sizes that C, assembly and the linker script have to agree upon.
 */
#pragma once

/* The image. The low 16 bits are zero, which cpu/vectors.S relies on. */
#define IMAGE_BASE 0x100000
/* Code that runs at CPL3 has a 2 MiB page of its own, the only one that CPL3 may touch. */
#define USER_BASE 0x200000
/* In it: what a job is about, virtqueues, buffers that CPL3 looks into, and a stack for C. */
#define USER_JOB 0x210000
#define USER_JOB_BYTES 0x10000
#define USER_RINGS 0x220000
#define USER_RINGS_BYTES 0x4000
#define USER_BUFFERS 0x240000
#define USER_STACK_TOP 0x300000
/* Memory that devices write to and nobody looks at; only `blk` needs it to be there. */
#define DMA_BUFFERS 0x400000
#define DMA_BUFFERS_BYTES 0x800000

/* What each CPU has: its `struct cpu` at the bottom, its stack above that. A power of two (see this_cpu). */
#define CPU_AREA_BYTES 4096
/* CPUs with an APIC id from here on stay parked. */
#define MAX_CPUS 128

/* Selectors in the GDT (boot/entry.S). */
#define CODE32_SELECTOR 0x08
#define CODE64_SELECTOR 0x10
#define DATA_SELECTOR 0x18
#define USER_DATA_SELECTOR 0x23
#define USER_CODE_SELECTOR 0x2b
#define TSS_SELECTOR 0x30

/* Interrupt vectors. The local APIC's spurious one ends in 0xf, as old CPUs have those bits wired (SDM vol 3, 10.9). */
#define TIMER_VECTOR 0x20
#define SERIAL_VECTOR 0x21
#define JOB_VECTOR 0x22
#define SPURIOUS_VECTOR 0x2f
#define VECTOR_COUNT 0x30

/* Offsets in `struct cpu` and in its TSS; cpu/cpu.c checks them. */
#define CPU_MONITOR_RSP 8
#define CPU_TSS_RSP0 104
