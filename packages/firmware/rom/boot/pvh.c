/*
 * PVH: an ELF file with a 32-bit entry of its own, and the start info that it finds (Xen,
 * public/arch-x86/hvm/start_info.h). QEMU has loaded the file already; where fw_cfg has it whole, it is loaded here.
 */
#include "boot/boot.h"
#include "fw-cfg.h"
#include "layout.h"
#include "memory.h"
#include "tables.h"
#include "text.h"

#define ELF_MAGIC 0x464c457f
#define ELFCLASS32 1
#define ELFCLASS64 2
#define PT_LOAD 1

/* Where the two classes have what is needed of a header and of a program header (System V ABI, chapters 4 and 5). */
struct elf_layout {
	u8 phoff, phentsize, phnum;
	u8 entry_bytes, offset, paddr, filesz, memsz;
};
static const struct elf_layout layouts[] = {
	{ .phoff = 28, .phentsize = 42, .phnum = 44, .entry_bytes = 32, .offset = 4, .paddr = 12, .filesz = 16, .memsz = 20 },
	{ .phoff = 32, .phentsize = 54, .phnum = 56, .entry_bytes = 56, .offset = 8, .paddr = 24, .filesz = 32, .memsz = 40 },
};

struct segment {
	u32 offset;
	u32 address;
	u32 file_size;
	u32 memory_size;
};
static struct segment segments[32];
static u32 segment_count;

#define START_INFO_MAGIC 0x336ec578

static struct {
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
} start_info;

static struct {
	u64 address;
	u64 size;
	u64 command_line;
	u64 reserved;
} module;

static struct map_entry {
	u64 start;
	u64 size;
	u32 type;
	u32 reserved;
} start_map[MAX_RANGES];

static bool8 is_elf(const u8 *bytes)
{
	return *(const u32 *)bytes == ELF_MAGIC;
}

static u16 half_at(const u8 *bytes, u32 offset)
{
	return *(const u16 *)(bytes + offset);
}

/* Addresses and sizes of a 64-bit file must do with 32 bits: the entry is in 32-bit mode. */
static u32 number_at(const u8 *bytes, u32 offset, bool8 wide)
{
	if (wide && *(const u32 *)(bytes + offset + 4))
		fail("the kernel wants to be beyond 4 GiB");
	return *(const u32 *)(bytes + offset);
}

static void add_segment(const struct segment *segment)
{
	if (segment->file_size > segment->memory_size || segment->file_size > kernel.size ||
	    segment->offset > kernel.size - segment->file_size)
		fail("the kernel's ELF file is truncated");
	if (segment->address < ONE_MIB)
		fail("the kernel wants to be below 1 MiB");
	memory_keep(segment->address, segment->memory_size);
	segments[segment_count++] = *segment;
}

static void read_segments(const u8 *head)
{
	bool8 wide = head[4] == ELFCLASS64;
	const struct elf_layout *layout = &layouts[wide];
	u32 count = half_at(head, layout->phnum);
	u32 table = number_at(head, layout->phoff, wide);

	if (half_at(head, layout->phentsize) != layout->entry_bytes || count > COUNT(segments) ||
	    table > SETUP_HEAD_BYTES || count * layout->entry_bytes > SETUP_HEAD_BYTES - table)
		fail("the kernel's ELF headers are not as they should be");
	for (u32 i = 0; i < count; i++) {
		const u8 *header = head + table + i * layout->entry_bytes;
		struct segment segment = {
			.offset = number_at(header, layout->offset, wide),
			.address = number_at(header, layout->paddr, wide),
			.file_size = number_at(header, layout->filesz, wide),
			.memory_size = number_at(header, layout->memsz, wide),
		};

		if (*(const u32 *)header == PT_LOAD && segment.memory_size)
			add_segment(&segment);
	}
}

static bool8 recognise(void)
{
	u32 magic;

	segment_count = 0;
	if (!kernel.setup_size || !is_elf(setup_head))
		return 0;
	fw_cfg_read(FW_CFG_KERNEL_DATA, address_of(&magic), sizeof(magic));
	if (magic == ELF_MAGIC)
		read_segments(setup_head);
	else
		memory_keep(kernel.address, kernel.size);
	return 1;
}

static void load_segments(void)
{
	for (u32 i = 0; i < segment_count; i++) {
		const struct segment *segment = &segments[i];

		if (segment->file_size)
			fw_cfg_read_at(FW_CFG_KERNEL_DATA, segment->offset, segment->address, segment->file_size);
		if (segment->memory_size > segment->file_size)
			fw_cfg_zero(segment->address + segment->file_size, segment->memory_size - segment->file_size);
	}
}

static struct entry load(void)
{
	const struct memory_map *map = memory_finish();

	load_segments();
	load_initrd();
	load_command_line();
	for (u32 i = 0; i < map->count; i++) {
		const struct range *range = &map->ranges[i];

		start_map[i] = (struct map_entry){ range->start, range->size, range->type, 0 };
	}
	module.address = kernel.initrd_address;
	module.size = kernel.initrd_size;
	module.command_line = module.reserved = 0;
	start_info.magic = START_INFO_MAGIC;
	start_info.version = 1;
	start_info.flags = start_info.reserved = 0;
	start_info.module_count = kernel.initrd_size ? 1 : 0;
	start_info.modules = kernel.initrd_size ? address_of(&module) : 0;
	start_info.command_line = COMMAND_LINE_AT;
	start_info.rsdp = tables_address(TABLES_RSDP);
	start_info.map = address_of(start_map);
	start_info.map_entries = map->count;
	return (struct entry){ .eip = kernel.entry, .ebx = address_of(&start_info) };
}

const struct protocol pvh_protocol = { "PVH", recognise, load };
