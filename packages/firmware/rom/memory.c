#include "memory.h"

#include "fw-cfg.h"
#include "layout.h"
#include "text.h"

/* The BIOS data area's words for where the EBDA is, as a segment, and for how many KiB of RAM are below it. */
#define BDA_EBDA_SEGMENT 0x40e
#define BDA_BASE_KIB 0x413

#define FOUR_GIB (1ull << 32)

/* What there is, as the machine says. */
static struct memory_map given;
static struct memory_map map;

static struct {
	u32 start;
	u32 end;
} kept[40];
static u32 kept_count;

/* Tables in high memory lie from `tables_start` to `tables_end`. */
static u32 tables_start;
static u32 tables_end;
static u32 ebda_next;

/* The end of the RAM that is highest below 4 GiB. */
static u32 highest_end(void)
{
	u64 highest = 0;

	for (u32 i = 0; i < given.count; i++) {
		const struct range *range = &given.ranges[i];
		u64 end = range->start + range->size;

		if (range->type == RANGE_RAM && end < FOUR_GIB && end > highest)
			highest = end;
	}
	return highest;
}

void memory_start(void)
{
	struct fw_cfg_file file;

	if (!fw_cfg_find("etc/e820", &file) || file.size > sizeof(given.ranges))
		fail("fw_cfg has no memory map");
	fw_cfg_read(file.key, address_of(given.ranges), file.size);
	given.count = file.size / sizeof(struct range);
	kept_count = 0;
	tables_start = tables_end = highest_end() & ~0xfffu;
	*(volatile u16 *)at(BDA_EBDA_SEGMENT) = EBDA_BASE >> 4;
	*(volatile u16 *)at(BDA_BASE_KIB) = EBDA_BASE >> 10;
	fw_cfg_zero(EBDA_BASE, EBDA_END - EBDA_BASE);
	*(volatile u8 *)at(EBDA_BASE) = EBDA_KIB;
	ebda_next = EBDA_BASE + 16;
}

void memory_start_after_bios(const struct range *ranges, u32 count)
{
	memcpy(given.ranges, ranges, count * sizeof(struct range));
	given.count = count;
	kept_count = 0;
	tables_start = tables_end = 0;
}

static bool8 is_ram(u64 start, u64 end)
{
	for (u32 i = 0; i < given.count; i++) {
		const struct range *range = &given.ranges[i];

		if (range->type == RANGE_RAM && range->start <= start && end <= range->start + range->size)
			return 1;
	}
	return 0;
}

void memory_keep(u32 start, u32 size)
{
	u64 end = (u64)start + size;

	if (!size)
		return;
	if (end > FOUR_GIB || start < WORK_END || (start < ONE_MIB && end > EBDA_BASE) || !is_ram(start, end) ||
	    (start < address_of(image_end) && end > address_of(image_start)))
		fail("the kernel, or what goes with it, does not fit into memory");
	if (kept_count == COUNT(kept))
		fail("the kernel has too many parts");
	/* The map is for pages. */
	kept[kept_count].start = start & ~0xfffu;
	kept[kept_count].end = (u32)(end + 0xfff) & ~0xfffu;
	kept_count++;
}

/* Where something that is kept begins that the range runs into; 0 when it runs into nothing. */
static u32 in_the_way(u32 start, u32 end)
{
	for (u32 i = 0; i < kept_count; i++) {
		if (start < kept[i].end && kept[i].start < end)
			return kept[i].start;
	}
	return 0;
}

/* Tables are taken downwards. They begin below what is in the way, and from there on must have room. */
u32 memory_take(u32 size, u32 align)
{
	u32 mask = align ? align - 1 : 0;
	u32 end = tables_start;

	if (align & mask)
		fail("a table asks for an alignment that is no power of two");
	for (;;) {
		u32 start = (end - size) & ~mask;
		u32 obstacle = in_the_way(start, end);

		if (start < ONE_MIB || start > end || !is_ram(start, end))
			fail("no room for the tables");
		if (!obstacle) {
			tables_start = start;
			return start;
		}
		/* The map has one range for tables, so none of them may be above the obstacle. */
		if (tables_start != tables_end)
			fail("no room for the tables");
		end = tables_end = tables_start = obstacle;
	}
}

u32 memory_take_low(u32 size, u32 align)
{
	u32 mask = align ? align - 1 : 0;
	u32 start = (ebda_next + mask) & ~mask;

	if ((align & mask) || size > EBDA_END - EBDA_BASE || start > EBDA_END - size)
		fail("no room for the tables' pointers");
	ebda_next = start + size;
	return start;
}

static void add(u64 start, u64 end, u32 type)
{
	if (start >= end)
		return;
	if (map.count == MAX_RANGES)
		fail("the memory map has too many ranges");
	map.ranges[map.count++] = (struct range){ start, end - start, type };
}

/* RAM up to what firmware has of it, and that; returns where RAM goes on. */
static u64 add_up_to(u64 start, u64 hole_start, u64 hole_end)
{
	add(start, hole_start, RANGE_RAM);
	if (hole_start == EBDA_BASE) {
		add(EBDA_BASE, EBDA_END, RANGE_RESERVED);
		add(BIOS_AREA, ONE_MIB, RANGE_RESERVED);
	} else {
		add(hole_start, hole_end, RANGE_ACPI);
	}
	return hole_end;
}

static void add_ram(u64 start, u64 end)
{
	if (start < ONE_MIB && end > EBDA_BASE)
		start = add_up_to(start, EBDA_BASE, ONE_MIB);
	if (tables_start != tables_end && start < tables_end && end > tables_start)
		start = add_up_to(start, tables_start, tables_end);
	add(start, end, RANGE_RAM);
}

const struct memory_map *memory_finish(void)
{
	tables_start &= ~0xfffu;
	map.count = 0;
	for (u32 i = 0; i < given.count; i++) {
		const struct range *range = &given.ranges[i];
		u64 end = range->start + range->size;

		if (range->type == RANGE_RAM)
			add_ram(range->start, end);
		else
			add(range->start, end, range->type);
	}
	return &map;
}

static u32 kib_from(u64 start)
{
	for (u32 i = 0; i < map.count; i++) {
		if (map.ranges[i].type == RANGE_RAM && map.ranges[i].start == start)
			return map.ranges[i].size >> 10;
	}
	return 0;
}

u32 memory_lower_kib(void)
{
	return kib_from(0);
}

u32 memory_upper_kib(void)
{
	return kib_from(ONE_MIB);
}
