/*
 * The way from reset to a kernel: where memory is, what the kernel needs of it, the tables, the kernel, and in.
 */
#include "boot/boot.h"
#include "chipset.h"
#include "fw-cfg.h"
#include "memory.h"
#include "smbios.h"
#include "tables.h"

static void place_tables(void)
{
	tables_install();
	smbios_install();
}

void __attribute__((noreturn)) rom_main(u64 reset_tsc);
void rom_main(u64 reset_tsc)
{
	chipset_start();
	fw_cfg_start();
	memory_start();
	boot_kernel(&(struct beginning){ "reset", reset_tsc, place_tables });
}
