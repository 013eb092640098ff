/*
 * Reads the loader's information: Multiboot 0.6.96, section 3.3, and PVH's start info (Xen,
 * public/arch-x86/hvm/start_info.h). Everything is copied, because the loader may have put it anywhere, also where we
 * place the trampoline for other CPUs or test memory.
 */
#include "boot/boot-info.h"

struct boot_info boot_info;

#define MULTIBOOT_LOADER_MAGIC 0x2badb002
#define MULTIBOOT_HAS_MEMORY (1 << 0)
#define MULTIBOOT_HAS_COMMAND_LINE (1 << 2)
#define MULTIBOOT_HAS_MAP (1 << 6)

struct multiboot_info {
	u32 flags;
	u32 lower_kib;
	u32 upper_kib;
	u32 boot_device;
	u32 command_line;
	u32 module_count;
	u32 modules;
	u32 symbols[4];
	u32 map_bytes;
	u32 map;
};

/* `size` does not count itself. */
struct multiboot_range {
	u32 size;
	u64 start;
	u64 bytes;
	u32 type;
} __attribute__((packed));

#define PVH_START_MAGIC 0x336ec578
/* From this version on there is a memory map. */
#define PVH_MAP_VERSION 1

struct pvh_start_info {
	u32 magic;
	u32 version;
	u32 flags;
	u32 module_count;
	u64 modules;
	u64 command_line;
	u64 rsdp;
	u64 map;
	u32 map_entries;
	u32 reserved;
};

struct pvh_range {
	u64 start;
	u64 bytes;
	u32 type;
	u32 reserved;
};

static void add_range(u64 start, u64 size, u32 type)
{
	if (!size)
		return;
	if (boot_info.range_count < MAX_MEMORY_RANGES)
		boot_info.ranges[boot_info.range_count++] = (struct memory_range){ start, size, type };
	if (type == MEMORY_USABLE)
		boot_info.usable_bytes += size;
}

static void copy_command_line(const char *from)
{
	char *to = boot_info.command_line;

	while (*from && to < boot_info.command_line + MAX_COMMAND_LINE - 1)
		*to++ = *from++;
}

static void read_multiboot(const struct multiboot_info *info)
{
	boot_info.protocol = "multiboot";
	if (info->flags & MULTIBOOT_HAS_COMMAND_LINE)
		copy_command_line((const char *)(u64)info->command_line);
	if (info->flags & MULTIBOOT_HAS_MAP) {
		u64 end = (u64)info->map + info->map_bytes;
		const struct multiboot_range *range;

		for (u64 at = info->map; at < end; at += range->size + sizeof range->size) {
			range = (const struct multiboot_range *)at;
			add_range(range->start, range->bytes, range->type);
		}
	} else if (info->flags & MULTIBOOT_HAS_MEMORY) {
		add_range(0, (u64)info->lower_kib << 10, MEMORY_USABLE);
		add_range(0x100000, (u64)info->upper_kib << 10, MEMORY_USABLE);
	}
}

static void read_pvh(const struct pvh_start_info *info)
{
	const struct pvh_range *map = (const struct pvh_range *)info->map;

	boot_info.protocol = "PVH";
	if (info->command_line)
		copy_command_line((const char *)info->command_line);
	if (info->version >= PVH_MAP_VERSION)
		for (u32 i = 0; i < info->map_entries; i++)
			add_range(map[i].start, map[i].bytes, map[i].type);
}

void boot_info_read(u32 magic, u32 info)
{
	const struct pvh_start_info *start_info = (const struct pvh_start_info *)(u64)info;

	boot_info.protocol = "an unknown loader";
	if (magic == MULTIBOOT_LOADER_MAGIC)
		read_multiboot((const struct multiboot_info *)(u64)info);
	else if (magic == 0 && start_info->magic == PVH_START_MAGIC)
		read_pvh(start_info);
}
