/*
 * Where a PC has its devices: I/O ports, and the memory of the IOAPIC. For C and assembly.
 */
#pragma once

#define PIC1_DATA 0x21
#define PIC2_DATA 0xa1
#define PIC_MASK_ALL 0xff

#define I8042_COMMAND 0x64

#define RTC_INDEX 0x70
#define RTC_DATA 0x71

/* Where a BIOS shows how far it has come; nothing happens on a read. */
#define POST_CODE 0x80

/* pc-testdev: a 32-bit register of no consequence. A byte written to it is what `exits pio` measures. */
#define TESTDEV_LATCH 0xe0
/* isa-debug-exit: ends the machine with the status (value << 1) | 1. */
#define DEBUG_EXIT 0xf4

#define SERIAL_BASE 0x3f8
#define SERIAL_LINE 4

#define DEBUG_CONSOLE 0x402
/* What a read of it answers. */
#define DEBUG_CONSOLE_ID 0xe9

#define FW_CFG_SELECTOR 0x510
#define FW_CFG_DATA 0x511

/* ACPI's fixed hardware as the ICH9 has it (ACPI 6.5, 4.8.3). */
#define PM1_CONTROL 0x604
#define PM_TIMER 0x608

#define RESET_CONTROL 0xcf9

#define IOAPIC_BASE 0xfec00000
