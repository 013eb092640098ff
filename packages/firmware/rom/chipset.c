#include "chipset.h"

#include "instructions.h"

/* PCI configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2). */
#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define FUNCTION(device, function) (1u << 31 | (device) << 11 | (function) << 8)

#define I440FX 0x12378086
#define Q35 0x29c08086

/* Where a PC has the registers; bit 0 is always set, as it is in any base address of ports. */
#define PM_BASE (0x600 | 1)

/* Of the PIIX4's function 3 (82371AB datasheet, 7.1): the base, and what lets it count. */
#define PIIX4_PM FUNCTION(1, 3)
#define PIIX4_PMBA 0x40
#define PIIX4_PMREGMISC 0x80
#define PIIX4_PMIOSE (1 << 0)

/* Of the ICH9's LPC bridge (ICH9 datasheet, 13.1.13 and 13.1.14). */
#define ICH9_LPC FUNCTION(31, 0)
#define ICH9_PMBASE 0x40
#define ICH9_ACPI_CNTL 0x44
#define ICH9_ACPI_EN (1 << 7)

static u32 config_read(u32 address)
{
	outl(CONFIG_ADDRESS, address);
	return inl(CONFIG_DATA);
}

static void config_write(u32 address, u32 value)
{
	outl(CONFIG_ADDRESS, address);
	outl(CONFIG_DATA, value);
}

static void start(u32 base, u32 enable, u32 bit)
{
	config_write(base, PM_BASE);
	config_write(enable, config_read(enable) | bit);
}

void chipset_start(void)
{
	switch (config_read(FUNCTION(0, 0))) {
	case I440FX:
		start(PIIX4_PM | PIIX4_PMBA, PIIX4_PM | PIIX4_PMREGMISC, PIIX4_PMIOSE);
		break;
	case Q35:
		start(ICH9_LPC | ICH9_PMBASE, ICH9_LPC | ICH9_ACPI_CNTL, ICH9_ACPI_EN);
		break;
	}
}
