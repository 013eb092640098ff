/*
 * QEMU's firmware configuration device, by DMA alone (QEMU, docs/specs/fw_cfg.rst).
 */
#pragma once

#include "types.h"

/* Keys of the items that say what is to be booted. */
enum fw_cfg_key {
	FW_CFG_ID = 0x01,
	FW_CFG_KERNEL_ADDR = 0x07,
	FW_CFG_KERNEL_SIZE = 0x08,
	FW_CFG_INITRD_ADDR = 0x0a,
	FW_CFG_INITRD_SIZE = 0x0b,
	FW_CFG_KERNEL_ENTRY = 0x10,
	FW_CFG_KERNEL_DATA = 0x11,
	FW_CFG_INITRD_DATA = 0x12,
	FW_CFG_COMMAND_LINE_SIZE = 0x14,
	FW_CFG_COMMAND_LINE_DATA = 0x15,
	FW_CFG_SETUP_SIZE = 0x17,
	FW_CFG_SETUP_DATA = 0x18,
	FW_CFG_FILE_DIR = 0x19,
};

#define FILE_NAME_BYTES 56

struct fw_cfg_file {
	u32 size;
	u16 key;
};

/* Fails when there is no such device, and reads the directory. */
void fw_cfg_start(void);

/* Bytes of an item from its beginning; past its end they are zeros. */
void fw_cfg_read(u16 key, u32 address, u32 size);
/* The same from `offset` on. */
void fw_cfg_read_at(u16 key, u32 offset, u32 address, u32 size);
void fw_cfg_write_at(u16 key, u32 offset, u32 address, u32 size);
/* An item that is a number of 32 bits; 0 when there is no such item. */
u32 fw_cfg_number(u16 key);
/* Lets the device write zeros, which is quicker than doing it. */
void fw_cfg_zero(u32 address, u32 size);

/* The file of that name: false when there is none. */
bool8 fw_cfg_find(const char *name, struct fw_cfg_file *file);
