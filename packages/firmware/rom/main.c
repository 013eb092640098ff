/*
 * The way from reset to a kernel: where memory is, what the kernel needs of it, the tables, the kernel, and in.
 */
#include "boot/boot.h"
#include "chipset.h"
#include "fw-cfg.h"
#include "instructions.h"
#include "layout.h"
#include "memory.h"
#include "tables.h"
#include "text.h"

struct kernel kernel;
u8 setup_head[SETUP_HEAD_BYTES];

static const struct protocol *const protocols[] = { &linux_protocol, &pvh_protocol, &multiboot_protocol };

void load_command_line(void)
{
	u32 size = fw_cfg_number(FW_CFG_COMMAND_LINE_SIZE);

	if (size >= COMMAND_LINE_BYTES)
		fail("the command line is too long");
	/* Past its end there are zeros, and so it has one. */
	fw_cfg_read(FW_CFG_COMMAND_LINE_DATA, COMMAND_LINE_AT, size + 1);
}

void load_initrd(void)
{
	if (kernel.initrd_size)
		fw_cfg_read(FW_CFG_INITRD_DATA, kernel.initrd_address, kernel.initrd_size);
}

static void read_kernel(void)
{
	kernel = (struct kernel){
		.address = fw_cfg_number(FW_CFG_KERNEL_ADDR),
		.size = fw_cfg_number(FW_CFG_KERNEL_SIZE),
		.entry = fw_cfg_number(FW_CFG_KERNEL_ENTRY),
		.initrd_address = fw_cfg_number(FW_CFG_INITRD_ADDR),
		.initrd_size = fw_cfg_number(FW_CFG_INITRD_SIZE),
		.setup_size = fw_cfg_number(FW_CFG_SETUP_SIZE),
	};
	/* Past its end an item reads as zeros. */
	fw_cfg_read(FW_CFG_SETUP_DATA, address_of(setup_head), sizeof(setup_head));
	memory_keep(kernel.initrd_address, kernel.initrd_size);
}

static const struct protocol *recognise(void)
{
	for (u32 i = 0; i < COUNT(protocols); i++) {
		if (protocols[i]->recognise())
			return protocols[i];
	}
	fail("there is no kernel to boot");
}

static void report(const struct protocol *protocol, u64 reset_tsc)
{
	u64 cycles = rdtsc() - reset_tsc;

	log_text("rom: ");
	log_text(protocol->name);
	log_text(" kernel entered, cycles since reset: ");
	log_number(cycles >> 32 ? ~0u : (u32)cycles);
	log_end();
}

void __attribute__((noreturn)) rom_main(u64 reset_tsc);
void rom_main(u64 reset_tsc)
{
	const struct protocol *protocol;
	struct entry entry;

	chipset_start();
	fw_cfg_start();
	memory_start();
	read_kernel();
	protocol = recognise();
	tables_install();
	entry = protocol->load();
	report(protocol, reset_tsc);
	enter_kernel(&entry);
}
