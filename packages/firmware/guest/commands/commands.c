/*
 * The table of commands, and those that need no file of their own.
 */
#include "commands/commands.h"

#include "console/print.h"
#include "console/text.h"
#include "cpu/cpu.h"
#include "cpu/smp.h"
#include "cpu/user-mode.h"
#include "machine/clock.h"
#include "machine/power.h"
#include "machine/rtc.h"

static void command_help(char *arguments);

static void say_hello(void *argument)
{
	(void)argument;
	smp_turn_begin();
	print("hello from the CPU with APIC id %u\n", this_cpu()->apic_id);
	smp_turn_end();
}

static void command_smp(char *arguments)
{
	u32 cpus;

	(void)arguments;
	smp_start();
	cpus = smp_run(say_hello, NULL);
	print("smp: %u CPU%s\n", cpus, cpus == 1 ? "" : "s");
}

static void command_time(char *arguments)
{
	struct date_time now;
	u64 ns = clock_ns();

	(void)arguments;
	if (clock_works())
		print("up %lu.%lu ms\n", TENTHS(ns, NS_PER_MS));
	else
		print("no PM timer, so nobody knows for how long this guest is up\n");
	if (rtc_read(&now))
		print("%04u-%02u-%02u %02u:%02u:%02u by the RTC\n", now.year, now.month, now.day, now.hour, now.minute,
		      now.second);
	else
		print("no RTC\n");
}

static void command_echo(char *arguments)
{
	print("%s\n", arguments);
}

/* At CPL3: first a little, then, by how long that took, the rest at once. */
static void command_spin(char *arguments)
{
	u64 start = clock_ns(), elapsed = 0, iterations = 100000, done = 0, ms;

	if (!text_number(text_next_word(&arguments), &ms) || ms > 1000000) {
		print("usage: spin MS\n");
		return;
	}
	if (!clock_works()) {
		print("spin needs the PM timer\n");
		return;
	}
	while (elapsed < ms * NS_PER_MS) {
		enter_user(user_spin_loop, iterations);
		done += iterations;
		elapsed = clock_ns() - start;
		if (elapsed < ms * NS_PER_MS)
			iterations = (ms * NS_PER_MS - elapsed) / (elapsed / (done / 1000) + 1) * 1000 + 1000;
	}
	print("spin: %lu.%lu ms\n", TENTHS(elapsed, NS_PER_MS));
}

static void command_reboot(char *arguments)
{
	(void)arguments;
	machine_reset();
}

static void command_poweroff(char *arguments)
{
	char *word = text_next_word(&arguments);
	u64 code = selftest_failed;

	if (*word && !text_number(word, &code)) {
		print("usage: poweroff [CODE]\n");
		return;
	}
	if (code)
		debug_exit(code);
	power_off();
}

static const struct command {
	const char *name, *arguments, *summary;
	void (*run)(char *arguments);
} commands[] = {
	{ "help", "", "this list", command_help },
	{ "cpu", "", "what this CPU says it is", command_cpu },
	{ "mem", "", "the memory map", command_mem },
	{ "smp", "", "start the other CPUs; a hello from each", command_smp },
	{ "exits", "KIND COUNT [all]", "leave the guest COUNT times, and how long it takes", command_exits },
	{ "blk", "KIND BYTES DEPTH COUNT", "requests to the disk, and how long they take", command_blk },
	{ "net", "KIND ...", "frames to the network, and how long they take", command_net },
	{ "time", "", "time since the start, and of day", command_time },
	{ "spin", "MS", "keep this CPU busy at CPL3", command_spin },
	{ "selftest", "", "check that the machine does what it should", command_selftest },
	{ "fault", "KIND", "die in one of several ways", command_fault },
	{ "echo", "TEXT", "say TEXT", command_echo },
	{ "reboot", "", "reset the machine", command_reboot },
	{ "poweroff", "[CODE]", "end the machine; a CODE goes to the debug-exit port", command_poweroff },
};

#define COMMAND_COUNT (sizeof commands / sizeof *commands)

static void command_help(char *arguments)
{
	(void)arguments;
	for (u32 i = 0; i < COMMAND_COUNT; i++)
		print("  %-9s%-18s%s\n", commands[i].name, commands[i].arguments, commands[i].summary);
	print("exits: pio mmio coalesced ioeventfd hlt cpuid msr pio-user; fault: triple ud hlt badins mmio-exec\n");
}

void command_run(char *line)
{
	char *name = text_next_word(&line);

	if (!*name)
		return;
	for (u32 i = 0; i < COMMAND_COUNT; i++) {
		if (text_equal(name, commands[i].name)) {
			commands[i].run(line);
			return;
		}
	}
	print("%s: unknown command, try help\n", name);
}
