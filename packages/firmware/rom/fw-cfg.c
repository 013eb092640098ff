#include "fw-cfg.h"

#include "instructions.h"
#include "text.h"

/* Where a command's address goes, its lower half starting the command; the upper half is zero unless it is written. */
#define DMA_LOW 0x518
#define HAS_DMA (1 << 1)

enum control { ERROR = 1 << 0, READ = 1 << 1, SKIP = 1 << 2, SELECT = 1 << 3, WRITE = 1 << 4 };

/* No item has this key, so it reads as zeros. */
#define NO_ITEM 0xffff

/* All big-endian. */
struct command {
	u32 control;
	u32 length;
	u32 address_high;
	u32 address;
};

struct directory_entry {
	u32 size;
	u16 key;
	u16 reserved;
	char name[FILE_NAME_BYTES];
};

#define MAX_FILES 64

static struct {
	u32 count;
	struct directory_entry entries[MAX_FILES];
} directory;

static void run(u32 control, u32 address, u32 length)
{
	volatile struct command command = {
		.control = __builtin_bswap32(control),
		.length = __builtin_bswap32(length),
		.address = __builtin_bswap32(address),
	};

	outl(DMA_LOW, __builtin_bswap32(address_of(&command)));
	/* The device is done when the instruction is; the specification lets it take longer. */
	while (command.control & ~__builtin_bswap32(ERROR))
		;
	if (command.control)
		fail("fw_cfg refuses a transfer: is it beyond the end of memory?");
}

static u32 select(u16 key)
{
	return (u32)key << 16 | SELECT;
}

void fw_cfg_read(u16 key, u32 address, u32 size)
{
	run(select(key) | READ, address, size);
}

void fw_cfg_read_at(u16 key, u32 offset, u32 address, u32 size)
{
	run(select(key) | SKIP, 0, offset);
	run(READ, address, size);
}

void fw_cfg_write_at(u16 key, u32 offset, u32 address, u32 size)
{
	run(select(key) | SKIP, 0, offset);
	run(WRITE, address, size);
}

u32 fw_cfg_number(u16 key)
{
	volatile u32 value;

	fw_cfg_read(key, address_of(&value), sizeof(value));
	return value;
}

void fw_cfg_zero(u32 address, u32 size)
{
	run(select(NO_ITEM) | READ, address, size);
}

/* Without the device nobody touches the command, and the wait for it would not end: hence this one of its own. */
static bool8 has_dma(void)
{
	volatile u32 id = 0;
	volatile struct command command = {
		.control = __builtin_bswap32(select(FW_CFG_ID) | READ),
		.length = __builtin_bswap32(sizeof(id)),
		.address = __builtin_bswap32(address_of(&id)),
	};

	outl(DMA_LOW, __builtin_bswap32(address_of(&command)));
	return command.control == 0 && (id & HAS_DMA);
}

void fw_cfg_start(void)
{
	if (!has_dma())
		fail("there is no fw_cfg device with DMA");
	fw_cfg_read(FW_CFG_FILE_DIR, address_of(&directory), sizeof(directory));
	directory.count = __builtin_bswap32(directory.count);
	if (directory.count > MAX_FILES)
		directory.count = MAX_FILES;
}

bool8 fw_cfg_find(const char *name, struct fw_cfg_file *file)
{
	for (u32 i = 0; i < directory.count; i++) {
		const struct directory_entry *entry = &directory.entries[i];

		if (!text_equals(entry->name, name, FILE_NAME_BYTES))
			continue;
		file->size = __builtin_bswap32(entry->size);
		file->key = __builtin_bswap16(entry->key);
		return 1;
	}
	return 0;
}
