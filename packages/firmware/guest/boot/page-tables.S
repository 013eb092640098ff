/*
 * Page tables, complete in the file: the first 4 GiB at their own addresses in pages of 2 MiB (Intel SDM vol 3,
 * 4.5). Building them at run time would cost thousands of instructions before the first output.
 */
#include "layout.h"

#define PRESENT (1 << 0)
#define WRITE (1 << 1)
#define USER (1 << 2)
#define WRITE_THROUGH (1 << 3)
#define CACHE_DISABLE (1 << 4)
/* Set beforehand, so that no walk has to write them. */
#define ACCESSED (1 << 5)
#define DIRTY (1 << 6)
#define LARGE (1 << 7)

#define TABLE (PRESENT | WRITE | USER | ACCESSED)
#define MEMORY (PRESENT | WRITE | ACCESSED | DIRTY | LARGE)
#define DEVICES (MEMORY | WRITE_THROUGH | CACHE_DISABLE)

#define LARGE_PAGE 0x200000
#define GIB 0x40000000
/* A PC has its devices in the last gigabyte below 4 GiB. */
#define DEVICES_BASE (3 * GIB)

	.section .page_tables, "aw"
	.balign 4096
	.globl page_map_level_4
page_map_level_4:
	.quad page_directory_pointers + TABLE
	.fill 511, 8, 0
page_directory_pointers:
	.set gigabyte, 0
	.rept 4
	.quad page_directories + 4096 * gigabyte + TABLE
	.set gigabyte, gigabyte + 1
	.endr
	.fill 508, 8, 0
	.globl page_directories
page_directories:
	.set address, 0
	.rept 4 * GIB / LARGE_PAGE
	.if address == USER_BASE
	.quad address + MEMORY + USER
	.elseif address < DEVICES_BASE
	.quad address + MEMORY
	.else
	.quad address + DEVICES
	.endif
	.set address, address + LARGE_PAGE
	.endr
