/*
 * Where the ROM and what it leaves behind are: shared by C, assembly and the linker script.
 */
#pragma once

/* 64 KiB that end at 4 GiB, where the CPU begins (Intel SDM vol 3, 9.1.4). */
#define ROM_BASE 0xffff0000
/* The last bytes: what runs in real mode, and the descriptors. */
#define RESET_BASE 0xffffff00
#define RESET_VECTOR 0xfffffff0

/* RAM that the ROM works in. A kernel finds its boot information there, and then may have it. */
#define WORK_BASE 0x1000
#define WORK_END 0x8000

/* Where the option ROM's code runs, and the memory map that it has from the BIOS. */
#define OPTION_BASE 0x60000
#define OPTION_END 0x68000
#define BIOS_MAP_BASE 0x68000
#define BIOS_MAP_ENTRIES 64
#define BIOS_MAP_ENTRY_BYTES 20

/* Six pages that map the first 4 GiB to themselves, for a kernel that is entered in long mode. */
#define PAGE_TABLES 0x10000
#define PAGE_TABLES_BYTES 0x6000

/* The command line, and the most bytes it may have. */
#define COMMAND_LINE_AT 0x20000
#define COMMAND_LINE_BYTES 0x10000

/* The extended BIOS data area, in which an operating system looks for pointers to tables; its first byte is its KiB. */
#define EBDA_BASE 0x9fc00
#define EBDA_KIB 1
#define EBDA_END 0xa0000
#define BIOS_AREA 0xf0000
#define ONE_MIB 0x100000

/* Flat segments. Linux's 32-bit boot protocol asks for these selectors. */
#define CODE_SELECTOR 0x10
#define DATA_SELECTOR 0x18
