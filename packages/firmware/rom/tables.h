/*
 * ACPI's tables and others like them: fw_cfg has them as files, and a script that says how to place and to link them
 * (QEMU, docs/specs and its hw/acpi/bios-linker-loader.c name the commands).
 */
#pragma once

#include "types.h"

/* Places all tables. A machine may have none. */
void tables_install(void);
/* Where the file of that name was put; 0 when there is none. */
u32 tables_address(const char *name);

#define TABLES_RSDP "etc/acpi/rsdp"
