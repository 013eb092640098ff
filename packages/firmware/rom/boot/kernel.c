/*
 * The kernel that fw_cfg has, and the way into it.
 */
#include "boot/boot.h"
#include "fw-cfg.h"
#include "instructions.h"
#include "layout.h"
#include "memory.h"
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

static void report(const struct protocol *protocol, const struct entry *entry, const struct beginning *beginning)
{
	u64 cycles = rdtsc() - beginning->tsc;

	log_text("rom: ");
	log_text(protocol->name);
	log_text(entry->is_long ? " kernel entered in long mode, cycles since " : " kernel entered, cycles since ");
	log_text(beginning->name);
	log_text(": ");
	log_number(cycles >> 32 ? ~0u : (u32)cycles);
	log_end();
}

void boot_kernel(const struct beginning *beginning)
{
	const struct protocol *protocol;
	struct entry entry;

	read_kernel();
	protocol = recognise();
	if (beginning->place_tables)
		beginning->place_tables();
	entry = protocol->load();
	report(protocol, &entry, beginning);
	enter_kernel(&entry);
}
