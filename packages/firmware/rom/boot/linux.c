/*
 * A bzImage, entered by the 64-bit boot protocol where kernel and CPU have it, or else by the 32-bit one (Linux,
 * Documentation/arch/x86/boot.rst and zero-page.rst).
 */
#include "boot/boot.h"
#include "fw-cfg.h"
#include "layout.h"
#include "long-mode.h"
#include "memory.h"
#include "tables.h"
#include "text.h"

/* Fields of the setup header, which has the same place in the file and in boot_params. */
enum setup_field {
	HEADER_START = 0x1f1,
	JUMP_DISTANCE = 0x201,
	HEADER_MAGIC = 0x202,
	VERSION = 0x206,
	TYPE_OF_LOADER = 0x210,
	LOADFLAGS = 0x211,
	RAMDISK_IMAGE = 0x218,
	RAMDISK_SIZE = 0x21c,
	CMD_LINE_PTR = 0x228,
	XLOADFLAGS = 0x236,
	PREF_ADDRESS = 0x258,
	INIT_SIZE = 0x260,
};

/* Fields of boot_params outside of it. */
enum params_field { ACPI_RSDP_ADDR = 0x070, E820_ENTRIES = 0x1e8, E820_TABLE = 0x2d0 };

#define MAGIC 0x53726448 /* "HdrS" */
#define HEADER_ROOM_END 0x290
/* The first version with init_size. */
#define VERSION_2_10 0x020a
/* The first version with xloadflags. */
#define VERSION_2_12 0x020c
#define XLF_KERNEL_64 (1 << 0)
#define ENTRY_64_OFFSET 0x200
#define LOADED_HIGH (1 << 0)
#define UNDEFINED_LOADER 0xff
#define E820_MAX 128

static u8 boot_params[4096] __attribute__((aligned(16)));

static u32 *word(u8 *params, u32 field)
{
	return (u32 *)(params + field);
}

static u32 larger(u32 a, u32 b)
{
	return a > b ? a : b;
}

static bool8 recognise(void)
{
	u32 room = kernel.size;

	if (kernel.setup_size < HEADER_ROOM_END || *word(setup_head, HEADER_MAGIC) != MAGIC)
		return 0;
	if (!(setup_head[LOADFLAGS] & LOADED_HIGH))
		fail("a Linux zImage, not a bzImage");
	/* It moves itself to where it wants to be, and needs init_size there. */
	if (*(u16 *)(setup_head + VERSION) >= VERSION_2_10)
		room = larger(room, larger(*word(setup_head, PREF_ADDRESS), kernel.address) - kernel.address +
					    *word(setup_head, INIT_SIZE));
	memory_keep(kernel.address, room);
	return 1;
}

static bool8 has_64_bit_entry(void)
{
	return *(u16 *)(setup_head + VERSION) >= VERSION_2_12 && (*(u16 *)(setup_head + XLOADFLAGS) & XLF_KERNEL_64);
}

static struct entry load(void)
{
	const struct memory_map *map = memory_finish();
	u32 header_end = JUMP_DISTANCE + 1 + setup_head[JUMP_DISTANCE];

	fw_cfg_zero(address_of(boot_params), sizeof(boot_params));
	if (header_end > HEADER_ROOM_END)
		header_end = HEADER_ROOM_END;
	memcpy(boot_params + HEADER_START, setup_head + HEADER_START, header_end - HEADER_START);
	fw_cfg_read(FW_CFG_KERNEL_DATA, kernel.address, kernel.size);
	load_initrd();
	load_command_line();
	boot_params[TYPE_OF_LOADER] = UNDEFINED_LOADER;
	*word(boot_params, RAMDISK_IMAGE) = kernel.initrd_address;
	*word(boot_params, RAMDISK_SIZE) = kernel.initrd_size;
	*word(boot_params, CMD_LINE_PTR) = COMMAND_LINE_AT;
	*word(boot_params, ACPI_RSDP_ADDR) = tables_address(TABLES_RSDP);
	boot_params[E820_ENTRIES] = map->count;
	memcpy(boot_params + E820_TABLE, map->ranges, map->count * sizeof(struct range));
	if (!has_64_bit_entry() || !has_long_mode())
		return (struct entry){ .eip = kernel.address, .esi = address_of(boot_params) };
	map_identity();
	return (struct entry){ .eip = kernel.address + ENTRY_64_OFFSET, .esi = address_of(boot_params), .is_long = 1 };
}

const struct protocol linux_protocol = { "Linux", recognise, load };
_Static_assert(MAX_RANGES <= E820_MAX, "boot_params has no room for the memory map");
