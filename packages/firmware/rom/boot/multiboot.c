/*
 * Multiboot (0.6.96): fw_cfg has the kernel with its modules and strings in one piece, and the information structure,
 * to which only the memory is missing, where an initial ramdisk would be.
 */
#include "boot/boot.h"
#include "fw-cfg.h"
#include "memory.h"
#include "text.h"

/* What EAX holds at entry (section 3.2). */
#define LOADER_MAGIC 0x2badb002

enum flags { HAS_MEMORY = 1 << 0, HAS_MAP = 1 << 6 };

/* The structure as far as it is completed here (section 3.3). */
struct information {
	u32 flags;
	u32 lower_kib;
	u32 upper_kib;
	u32 others[8];
	u32 map_bytes;
	u32 map;
};

/* `size` does not count itself. */
static struct map_entry {
	u32 size;
	u64 start;
	u64 bytes;
	u32 type;
} PACKED entries[MAX_RANGES];

static bool8 recognise(void)
{
	if (kernel.setup_size || !kernel.size || kernel.initrd_size < sizeof(struct information))
		return 0;
	memory_keep(kernel.address, kernel.size);
	return 1;
}

static struct entry load(void)
{
	const struct memory_map *map = memory_finish();
	struct information *information = at(kernel.initrd_address);

	fw_cfg_read(FW_CFG_KERNEL_DATA, kernel.address, kernel.size);
	load_initrd();
	for (u32 i = 0; i < map->count; i++) {
		const struct range *range = &map->ranges[i];

		entries[i] = (struct map_entry){ sizeof(*entries) - 4, range->start, range->size, range->type };
	}
	information->flags |= HAS_MEMORY | HAS_MAP;
	information->lower_kib = memory_lower_kib();
	information->upper_kib = memory_upper_kib();
	information->map_bytes = map->count * sizeof(*entries);
	information->map = address_of(entries);
	return (struct entry){ .eip = kernel.entry, .eax = LOADER_MAGIC, .ebx = kernel.initrd_address };
}

const struct protocol multiboot_protocol = { "multiboot", recognise, load };
