#include "tables.h"

#include "fw-cfg.h"
#include "memory.h"
#include "text.h"

enum command_kind { ALLOCATE = 1, ADD_POINTER = 2, ADD_CHECKSUM = 3, WRITE_POINTER = 4 };
/* Anywhere below 4 GiB, or where an operating system looks for pointers. */
enum zone { HIGH = 1, LOW = 2 };

typedef char file_name[FILE_NAME_BYTES];

/* Numbers are little-endian. A command is 128 bytes long; those that are not known are passed over. */
struct command {
	u32 kind;
	union {
		struct {
			file_name file;
			u32 align;
			u8 zone;
		} PACKED allocate;
		struct {
			file_name file;
			file_name points_to;
			u32 offset;
			u8 size;
		} PACKED pointer;
		struct {
			file_name file;
			u32 offset;
			u32 start;
			u32 length;
		} PACKED checksum;
		struct {
			file_name file;
			file_name points_to;
			u32 offset;
			u32 source_offset;
			u8 size;
		} PACKED write;
		u8 bytes[124];
	};
};

static struct {
	const char *name;
	u32 address;
	u32 size;
} placed[16];
static u32 placed_count;

/* The script, of which this much is read at a time. */
static struct command commands[16];

static u32 find(const char *name)
{
	u32 i = 0;

	while (i < placed_count && !text_equals(placed[i].name, name, FILE_NAME_BYTES))
		i++;
	return i;
}

static u32 require(const char *name)
{
	u32 i = find(name);

	if (i == placed_count)
		fail("the tables' script names a file that it has not placed");
	return i;
}

/* `size` bytes at `offset` of a file in memory. */
static u32 within(u32 file, u32 offset, u32 size)
{
	if (size > placed[file].size || offset > placed[file].size - size)
		fail("the tables' script goes beyond the end of a file");
	return placed[file].address + offset;
}

/* The names that stay: those in the script's own memory are overwritten by what is read next. */
static char names[COUNT(placed)][FILE_NAME_BYTES];

static void allocate(const struct command *command)
{
	struct fw_cfg_file file;
	u32 address;

	if (!fw_cfg_find(command->allocate.file, &file) || placed_count == COUNT(placed))
		fail("the tables' script names a file that is not there");
	address = command->allocate.zone == LOW ? memory_take_low(file.size, command->allocate.align)
						: memory_take(file.size, command->allocate.align);
	fw_cfg_read(file.key, address, file.size);
	memcpy(names[placed_count], command->allocate.file, FILE_NAME_BYTES);
	placed[placed_count].name = names[placed_count];
	placed[placed_count].address = address;
	placed[placed_count].size = file.size;
	placed_count++;
}

/* Adds to the offset that is there the address of what it is an offset into. */
static void add_pointer(const struct command *command)
{
	u32 size = command->pointer.size;
	u32 field = within(require(command->pointer.file), command->pointer.offset, size);
	u32 address = placed[require(command->pointer.points_to)].address;

	if (size == sizeof(u64))
		*(u64 *)at(field) += address;
	else if (size == sizeof(u32))
		*(u32 *)at(field) += address;
	else
		fail("the tables' script has a pointer of a width that cannot be");
}

static u32 sum_of_bytes(u32 address, u32 length)
{
	u32 sums = 0;
	u32 i = 0;

	/* Four at a time, in two halves of 16 bits, which hold 128 rounds of two bytes; the rest singly. */
	while (length - i >= 4) {
		u32 pairs = 0;

		for (u32 round = 0; round < 128 && length - i >= 4; round++, i += 4) {
			u32 word = *(const u32 *)at(address + i);

			pairs += (word & 0x00ff00ff) + ((word >> 8) & 0x00ff00ff);
		}
		sums += (pairs & 0xffff) + (pairs >> 16);
	}
	for (; i < length; i++)
		sums += *(const u8 *)at(address + i);
	return sums;
}

static void add_checksum(const struct command *command)
{
	u32 file = require(command->checksum.file);
	u8 *sum = at(within(file, command->checksum.offset, 1));
	u32 start = within(file, command->checksum.start, command->checksum.length);

	*sum -= sum_of_bytes(start, command->checksum.length);
}

/* Tells the machine where a file has come to, in another that it can read. */
static void write_pointer(const struct command *command)
{
	struct fw_cfg_file file;
	u64 address = within(require(command->write.points_to), command->write.source_offset, 0);

	if (!fw_cfg_find(command->write.file, &file) || command->write.size > sizeof(address))
		fail("the tables' script names a file that is not there");
	fw_cfg_write_at(file.key, command->write.offset, address_of(&address), command->write.size);
}

static void run(const struct command *command)
{
	switch (command->kind) {
	case ALLOCATE:
		return allocate(command);
	case ADD_POINTER:
		return add_pointer(command);
	case ADD_CHECKSUM:
		return add_checksum(command);
	case WRITE_POINTER:
		return write_pointer(command);
	}
}

void tables_install(void)
{
	struct fw_cfg_file script;

	placed_count = 0;
	if (!fw_cfg_find("etc/table-loader", &script))
		return;
	for (u32 offset = 0; offset < script.size; offset += sizeof(commands)) {
		fw_cfg_read_at(script.key, offset, address_of(commands), sizeof(commands));
		/* Past the end of the script there are zeros, which are no command. */
		for (u32 i = 0; i < COUNT(commands); i++)
			run(&commands[i]);
	}
}

u32 tables_address(const char *name)
{
	u32 i = find(name);

	return i == placed_count ? 0 : placed[i].address;
}
