/*
 * What the loader told us, copied out of its own structures.
 */
#pragma once

#include "types.h"

/* Address range types (ACPI 6.5, table 15.4); Multiboot and PVH use the same numbers. */
enum memory_type { MEMORY_USABLE = 1, MEMORY_RESERVED, MEMORY_ACPI, MEMORY_NVS, MEMORY_BAD };

struct memory_range {
	u64 start;
	u64 size;
	u32 type;
};

#define MAX_MEMORY_RANGES 32
#define MAX_COMMAND_LINE 1024

struct boot_info {
	const char *protocol;
	/* Sum of the usable ranges. */
	u64 usable_bytes;
	u32 range_count;
	struct memory_range ranges[MAX_MEMORY_RANGES];
	char command_line[MAX_COMMAND_LINE];
};

extern struct boot_info boot_info;

/* `magic` is what EAX held at entry, or 0 at the PVH entry; `info` is what EBX held. */
void boot_info_read(u32 magic, u32 info);
