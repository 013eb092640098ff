/*
 * The memory map: what RAM there is, what firmware keeps of it, and what an operating system is told.
 */
#pragma once

#include "types.h"

/* Address range types (ACPI 6.5, table 15.4). */
enum range_type { RANGE_RAM = 1, RANGE_RESERVED = 2, RANGE_ACPI = 3 };

/* As fw_cfg's etc/e820 and Linux's boot_params have it. */
struct range {
	u64 start;
	u64 size;
	u32 type;
} PACKED;

#define MAX_RANGES 64

/* The finished map. */
struct memory_map {
	u32 count;
	struct range ranges[MAX_RANGES];
};

/* Reads etc/e820, and makes room for tables. */
void memory_start(void);
/* Takes the map that a BIOS gives, in which it has already made room for everything. */
void memory_start_after_bios(const struct range *ranges, u32 count);
/* The code that runs: a kernel must not come to be there. From the linker script. */
extern u8 image_start[], image_end[];
/* A kernel or something that goes with it will be here: tables must not. Fails when it is not all RAM below 4 GiB. */
void memory_keep(u32 start, u32 size);
/* RAM below 4 GiB, as high as possible, for tables that an operating system can reclaim. */
u32 memory_take(u32 size, u32 align);
/* Room in the first KiB of the EBDA. */
u32 memory_take_low(u32 size, u32 align);
/* To be called when nothing more is taken. */
const struct memory_map *memory_finish(void);
/* RAM from 0 and from 1 MiB, in KiB, up to the first hole of the finished map. */
u32 memory_lower_kib(void);
u32 memory_upper_kib(void);
