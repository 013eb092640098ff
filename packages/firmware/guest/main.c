/*
 * The guest in C: read what the loader says, do what the command line asks, then ask the console.
 *
 * On the command line, `run=` begins a list of commands that goes to the end, separated by semicolons; `quiet` before
 * it leaves out the banner.
 */
#include "boot/boot-info.h"
#include "commands/commands.h"
#include "console/line-editor.h"
#include "console/print.h"
#include "console/text.h"
#include "machine/clock.h"
#include "machine/fw-cfg.h"
#include "machine/power.h"
#include "machine/serial.h"

#define PROMPT "kvm> "

void __attribute__((noreturn)) guest_main(u32 magic, u32 info, u32 pm_timer_at_entry);

struct options {
	bool quiet;
	/* Commands to run first; null when there are none. */
	char *run;
};

static struct options parse_command_line(char *text)
{
	struct options options = { 0 };

	for (;;) {
		const char *run;

		while (*text == ' ')
			text++;
		run = text_after(text, "run=");
		if (run || !*text) {
			options.run = (char *)run;
			return options;
		}
		options.quiet |= text_equal(text_next_word(&text), "quiet");
	}
}

static void print_banner(void)
{
	u32 cpus = fw_cfg_cpu_count();
	u64 ns;

	print("tools-kvm guest " GUEST_VERSION ", started by %s, %lu MiB of memory", boot_info.protocol,
	      (boot_info.usable_bytes + (1 << 19)) >> 20);
	if (cpus)
		print(", %u CPU%s", cpus, cpus == 1 ? "" : "s");
	ns = clock_ns();
	if (clock_works())
		print("\nready in %lu.%lu ms\n", TENTHS(ns, NS_PER_MS));
	else
		print("\nready\n");
	print("type help for a list of commands\n");
}

void guest_main(u32 magic, u32 info, u32 pm_timer_at_entry)
{
	struct options options;

	boot_info_read(magic, info);
	options = parse_command_line(boot_info.command_line);
	/* Nothing else to do: nothing else is set up. What a machine costs to start and end is measured this way. */
	if (options.run && text_equal(options.run, "poweroff"))
		power_off();

	clock_init(pm_timer_at_entry);
	serial_init();
	if (!options.quiet)
		print_banner();
	for (char *line; (line = text_next_part(&options.run, ';'));)
		command_run(line);

	serial_enable_interrupts();
	for (;;)
		command_run(line_read(PROMPT));
}
