#include "long-mode.h"

#include "fw-cfg.h"
#include "instructions.h"
#include "layout.h"

#define EXTENDED_LEAVES 0x80000000
#define EXTENDED_FEATURES 0x80000001
#define EDX_LONG_MODE (1 << 29)

#define PAGE 4096
#define LARGE_PAGE_SHIFT 21
#define ENTRIES 512
#define GIBIBYTES 4
#define PRESENT_WRITABLE 0x3
#define LARGE 0x80

bool8 has_long_mode(void)
{
	return cpuid(EXTENDED_LEAVES).eax >= EXTENDED_FEATURES && (cpuid(EXTENDED_FEATURES).edx & EDX_LONG_MODE);
}

/* One table of each of the two upper levels, and a page directory for each GiB (SDM vol 3, 4.5). */
void map_identity(void)
{
	u64 *pml4 = at(PAGE_TABLES);
	u64 *pointers = at(PAGE_TABLES + PAGE);
	u64 *directories = at(PAGE_TABLES + 2 * PAGE);

	fw_cfg_zero(PAGE_TABLES, PAGE_TABLES_BYTES);
	pml4[0] = address_of(pointers) | PRESENT_WRITABLE;
	for (u32 i = 0; i < GIBIBYTES; i++)
		pointers[i] = (address_of(directories) + i * PAGE) | PRESENT_WRITABLE;
	for (u32 i = 0; i < GIBIBYTES * ENTRIES; i++)
		directories[i] = i << LARGE_PAGE_SHIFT | LARGE | PRESENT_WRITABLE;
}
