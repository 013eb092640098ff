/*
 * `mem`: the memory map, as the loader gave it.
 */
#include "boot/boot-info.h"
#include "commands/commands.h"
#include "console/print.h"

static const char *type_name(u32 type)
{
	switch (type) {
	case MEMORY_USABLE: return "usable";
	case MEMORY_RESERVED: return "reserved";
	case MEMORY_ACPI: return "ACPI tables";
	case MEMORY_NVS: return "ACPI NVS";
	case MEMORY_BAD: return "defective";
	default: return "of unknown type";
	}
}

void command_mem(char *arguments)
{
	(void)arguments;
	for (u32 i = 0; i < boot_info.range_count; i++) {
		const struct memory_range *range = &boot_info.ranges[i];

		print("%012lx-%012lx %9lu KiB %s\n", range->start, range->start + range->size - 1, range->size >> 10,
		      type_name(range->type));
	}
	print("total: %lu KiB usable, by %s\n", boot_info.usable_bytes >> 10, boot_info.protocol);
}
