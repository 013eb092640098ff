/*
 * QEMU's firmware configuration device: select an item by its key, then read it byte by byte (QEMU,
 * docs/specs/fw_cfg.rst).
 */
#include "machine/fw-cfg.h"

#include "cpu/instructions.h"
#include "machine/ports.h"

enum key { SIGNATURE = 0, CPU_COUNT = 5 };

#define SIGNATURE_VALUE 0x554d4551 /* "QEMU" */

static u32 read_item(enum key key, u32 size)
{
	u32 value = 0;

	outw(FW_CFG_SELECTOR, key);
	for (u32 i = 0; i < size; i++)
		value |= (u32)inb(FW_CFG_DATA) << (8 * i);
	return value;
}

u32 fw_cfg_cpu_count(void)
{
	return read_item(SIGNATURE, 4) == SIGNATURE_VALUE ? read_item(CPU_COUNT, 2) : 0;
}
