/*
 * `fault`: ways for a guest to die, to see what the VMM makes of them.
 */
#include "commands/commands.h"
#include "console/print.h"
#include "console/text.h"
#include "machine/power.h"

/* No machine we know has anything here; below the devices that all have. */
#define EMPTY_ADDRESS 0xfea00000ul

static void undefined_instruction(void)
{
	asm volatile("ud2");
}

/* An instruction that hosts which emulate CPL0 do not know; others run it. */
static void unknown_to_emulators(void)
{
	u64 count;

	asm volatile("popcntq %1, %0" : "=r"(count) : "r"(0xfful));
	print("fault: popcnt counted %lu bits, so this host runs it\n", count);
}

static void execute_device_memory(void)
{
	((void (*)(void))EMPTY_ADDRESS)();
}

static const struct {
	const char *name;
	void (*die)(void);
} kinds[] = {
	{ "triple", triple_fault }, { "ud", undefined_instruction }, { "hlt", halt_forever },
	{ "badins", unknown_to_emulators }, { "mmio-exec", execute_device_memory },
};

void command_fault(char *arguments)
{
	char *name = text_next_word(&arguments);

	for (u32 i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (text_equal(name, kinds[i].name)) {
			kinds[i].die();
			return;
		}
	}
	print("usage: fault KIND, KIND one of");
	for (u32 i = 0; i < sizeof kinds / sizeof *kinds; i++)
		print(" %s", kinds[i].name);
	print("\n");
}
