/*
 * The boot protocols. Each is asked first whether the kernel is one of its own, which keeps the memory that the kernel
 * will have; and then, when the tables are placed, loads it.
 */
#pragma once

#include "types.h"

/* What a kernel finds in registers; the offsets are known to enter.S. */
struct entry {
	u32 eip;
	u32 eax;
	u32 ebx;
	u32 esi;
	/* Not 0: in long mode, with the page tables at PAGE_TABLES; addresses and registers stay below 4 GiB. */
	u32 is_long;
};

/* What fw_cfg says about the kernel. */
struct kernel {
	u32 address;
	u32 size;
	u32 entry;
	u32 initrd_address;
	u32 initrd_size;
	u32 setup_size;
};
extern struct kernel kernel;

struct protocol {
	const char *name;
	bool8 (*recognise)(void);
	struct entry (*load)(void);
};
extern const struct protocol linux_protocol, pvh_protocol, multiboot_protocol;

/* The beginning of the setup item: a Linux setup header or an ELF header is in it. */
#define SETUP_HEAD_BYTES 1024
extern u8 setup_head[SETUP_HEAD_BYTES];

/* Puts the command line where COMMAND_LINE_AT says. */
void load_command_line(void);
/* Puts the initial ramdisk at the address that fw_cfg gives. */
void load_initrd(void);

/* When this code began to run, as the log calls it; and what is to be done once it is known where the kernel will be. */
struct beginning {
	const char *name;
	u64 tsc;
	void (*place_tables)(void);
};

/* To be called when it is known what memory there is. */
void __attribute__((noreturn)) boot_kernel(const struct beginning *beginning);
/* Of enter.S. */
void __attribute__((noreturn)) enter_kernel(const struct entry *entry);
