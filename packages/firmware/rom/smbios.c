#include "smbios.h"

#include "fw-cfg.h"
#include "layout.h"
#include "memory.h"
#include "text.h"

#define SIGNATURE 0x5f4d535f /* "_SM_" */
#define ALIGN 16

/* The entry point of version 2.1 (DMTF DSP0134, section 5.2.1). */
static struct {
	u32 signature;
	u8 checksum;
	u8 others[16];
	u8 intermediate_checksum;
	u16 tables_bytes;
	u32 tables;
	u8 rest[3];
} PACKED entry_point;

#define INTERMEDIATE_AT 16

static u8 sum(u32 from)
{
	const u8 *bytes = (const u8 *)&entry_point;
	u8 total = 0;

	for (u32 i = from; i < sizeof(entry_point); i++)
		total += bytes[i];
	return total;
}

void smbios_install(void)
{
	struct fw_cfg_file anchor, tables;
	/* Guests look for it from here to 1 MiB, where the copy of the ROM is: behind the code there is nothing that counts. */
	u32 place = (BIOS_AREA + (address_of(image_end) - ROM_BASE) + ALIGN - 1) & ~(ALIGN - 1);

	if (!fw_cfg_find("etc/smbios/smbios-anchor", &anchor) || !fw_cfg_find("etc/smbios/smbios-tables", &tables) ||
	    anchor.size != sizeof(entry_point) || place + sizeof(entry_point) > BIOS_AREA + (RESET_BASE - ROM_BASE))
		return;
	fw_cfg_read(anchor.key, address_of(&entry_point), sizeof(entry_point));
	if (entry_point.signature != SIGNATURE)
		return;
	entry_point.tables = memory_take(tables.size, ALIGN);
	fw_cfg_read(tables.key, entry_point.tables, tables.size);
	entry_point.intermediate_checksum -= sum(INTERMEDIATE_AT);
	entry_point.checksum -= sum(0);
	memcpy(at(place), &entry_point, sizeof(entry_point));
}
