/*
 * The way from a BIOS, which has placed the tables already, to a kernel.
 */
#include "boot/boot.h"
#include "fw-cfg.h"
#include "layout.h"
#include "memory.h"
#include "text.h"

_Static_assert(sizeof(struct range) == BIOS_MAP_ENTRY_BYTES, "the BIOS's map has other entries");
_Static_assert(MAX_RANGES >= BIOS_MAP_ENTRIES, "the BIOS's map may have more entries than there is room for");

void __attribute__((noreturn)) option_main(u64 tsc, u32 map_bytes);
void option_main(u64 tsc, u32 map_bytes)
{
	if (!map_bytes)
		fail("the BIOS has no memory map");
	fw_cfg_start();
	memory_start_after_bios(at(BIOS_MAP_BASE), map_bytes / BIOS_MAP_ENTRY_BYTES);
	boot_kernel(&(struct beginning){ "the BIOS", tsc, 0 });
}
