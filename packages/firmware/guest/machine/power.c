/*
 * Power-off through PM1 control (ACPI 6.5, 4.8.3.2), QEMU's isa-debug-exit, and the three ways to reset a PC: the
 * chipset's register (Intel ICH9 datasheet, 13.7.5), the keyboard controller, and a triple fault.
 */
#include "machine/power.h"

#include "console/print.h"
#include "cpu/instructions.h"
#include "machine/clock.h"
#include "machine/ports.h"

/* Sleep now; the sleep type is 0, which means S5 on the machines we know. */
#define SLEEP_ENABLE (1 << 13)
#define ABSENT 0xffff
#define POWER_OFF_DELAY_US 1000000
#define RESET_SYSTEM_AND_CPU 0x06
#define I8042_PULSE_RESET 0xfe

void power_off(void)
{
	outw(PM1_CONTROL, SLEEP_ENABLE);
	/* Some machines take the order and go on for a moment. */
	if (inw(PM1_CONTROL) != ABSENT)
		clock_delay_us(POWER_OFF_DELAY_US);
	debug_exit(0);
	print("this machine has no power-off: halted\n");
	halt_forever();
}

void debug_exit(u32 code)
{
	outl(DEBUG_EXIT, code);
}

void machine_reset(void)
{
	outb(RESET_CONTROL, RESET_SYSTEM_AND_CPU);
	outb(I8042_COMMAND, I8042_PULSE_RESET);
	triple_fault();
}

void triple_fault(void)
{
	const struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) empty = { 0, 0 };

	asm volatile("lidt %0; movb (%1), %%al" : : "m"(empty), "r"(1ul << 63) : "rax");
	halt_forever();
}
