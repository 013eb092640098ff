/*
 * `exits`: leaves the guest a given number of times in one particular way, and says how long that took. The loops are
 * three instructions in assembly each, so that what is counted is exactly what was asked for:
 *
 *   pio        outb to the pc-testdev latch
 *   pio-user   the same from CPL3
 *   mmio       a 32-bit read of the exerciser's scratch register: a read, as that does no harm to whatever else a
 *              machine may have there
 *   coalesced  a 32-bit write to the exerciser's coalesced zone
 *   ioeventfd  a 32-bit write to the exerciser's doorbell
 *   hlt        hlt, ended by the local APIC's timer; arming that and ending its interrupt are exits too on some hosts,
 *              but never to the VMM
 *   cpuid      cpuid, leaf 0
 *   msr        rdmsr of the exerciser's register (where that faults: of IA32_APIC_BASE, and it says so)
 */
#include "commands/commands.h"
#include "console/print.h"
#include "console/text.h"
#include "cpu/apic.h"
#include "cpu/cpu.h"
#include "cpu/exceptions.h"
#include "cpu/instructions.h"
#include "cpu/registers.h"
#include "cpu/smp.h"
#include "cpu/user-mode.h"
#include "machine/clock.h"
#include "machine/exerciser.h"
#include "machine/ports.h"

/* As short as it goes: the CPU finds the interrupt pending when it halts, or soon after. */
#define HALT_TICKS 1000

/* Each does its thing `count` times. The vector of the exception that came in between, if any. */

static u64 pio_loop(u64 count)
{
	asm volatile("1: outb %%al, %1; decq %0; jnz 1b" : "+r"(count) : "i"(TESTDEV_LATCH), "a"(0));
	return NO_EXCEPTION;
}

static u64 pio_user_loop(u64 count)
{
	u64 vector = enter_user(user_pio_loop, count);

	return vector == INVALID_OPCODE ? NO_EXCEPTION : vector;
}

static u64 mmio_loop(u64 count)
{
	const u64 address = EXERCISER_BASE + EXERCISER_SCRATCH_OFFSET;

	asm volatile("1: movl (%1), %%eax; decq %0; jnz 1b" : "+r"(count) : "r"(address) : "rax", "memory");
	return NO_EXCEPTION;
}

static u64 write_loop(u64 count, u64 address)
{
	asm volatile("1: movl %%eax, (%1); decq %0; jnz 1b" : "+r"(count) : "r"(address), "a"(0) : "memory");
	return NO_EXCEPTION;
}

static u64 coalesced_loop(u64 count)
{
	return write_loop(count, EXERCISER_BASE + EXERCISER_COALESCED_OFFSET);
}

static u64 ioeventfd_loop(u64 count)
{
	return write_loop(count, EXERCISER_BASE + EXERCISER_IOEVENTFD_OFFSET);
}

static u64 hlt_loop(u64 count)
{
	while (count--) {
		apic_timer_start(HALT_TICKS);
		wait_for_interrupt();
	}
	return NO_EXCEPTION;
}

static u64 cpuid_loop(u64 count)
{
	asm volatile("1: xorl %%eax, %%eax; cpuid; decq %0; jnz 1b" : "+r"(count) : : "rax", "rbx", "rcx", "rdx");
	return NO_EXCEPTION;
}

static u64 read_msr_loop(u64 count, u32 index)
{
	u64 vector = NO_EXCEPTION;

	asm volatile("3: " TRY("rdmsr", "4f") "decq %0; jnz 3b; 4:"
		     : "+r"(count), "+S"(vector)
		     : "c"(index)
		     : "rax", "rdx");
	return vector;
}

static u64 msr_loop(u64 count)
{
	return read_msr_loop(count, EXERCISER_MSR);
}

static u64 apic_base_loop(u64 count)
{
	return read_msr_loop(count, MSR_APIC_BASE);
}

static const struct kind {
	const char *name;
	u64 (*loop)(u64 count);
	bool needs_exerciser;
} kinds[] = {
	{ "pio", pio_loop, false },
	{ "mmio", mmio_loop, false },
	{ "coalesced", coalesced_loop, true },
	{ "ioeventfd", ioeventfd_loop, true },
	{ "hlt", hlt_loop, false },
	{ "cpuid", cpuid_loop, false },
	{ "msr", msr_loop, false },
	{ "pio-user", pio_user_loop, false },
};

static const struct kind *find_kind(const char *name)
{
	for (u32 i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (text_equal(name, kinds[i].name))
			return &kinds[i];
	return NULL;
}

struct race {
	u64 (*loop)(u64 count);
	u64 count;
	u32 cpus;
	u32 ready;
	volatile bool go;
	u64 start_ns;
	/* Of the exception that came to any of the CPUs. */
	volatile u64 vector;
};

/* One CPU's part. All start when the last one is there; the boot CPU gives the sign and looks at the clock. */
static void run_race(void *argument)
{
	struct race *race = argument;
	u64 vector;

	if (is_boot_cpu()) {
		while (__atomic_load_n(&race->ready, __ATOMIC_ACQUIRE) != race->cpus - 1)
			relax();
		race->start_ns = clock_ns();
		race->go = true;
	} else {
		__atomic_fetch_add(&race->ready, 1, __ATOMIC_RELEASE);
		while (!race->go)
			relax();
	}
	vector = race->loop(race->count);
	if (vector != NO_EXCEPTION)
		race->vector = vector;
}

static void run(struct race *race)
{
	race->ready = 0;
	race->go = false;
	race->vector = NO_EXCEPTION;
	if (race->cpus > 1)
		smp_run(run_race, race);
	else
		run_race(race);
}

static void report(const struct kind *kind, const struct race *race, u64 ns)
{
	if (race->vector != NO_EXCEPTION) {
		print("exits: %s ended by exception %lu\n", kind->name, race->vector);
		return;
	}
	print("exits: %s %lu", kind->name, race->count);
	if (race->cpus > 1)
		print(" on each of %u CPUs", race->cpus);
	if (clock_works())
		print(" in %lu.%lu ms (%lu.%lu us each)\n", TENTHS(ns, NS_PER_MS),
		      TENTHS(ns / race->count, NS_PER_US));
	else
		print(" done; without a PM timer nobody knows in what time\n");
}

void command_exits(char *arguments)
{
	const struct kind *kind = find_kind(text_next_word(&arguments));
	bool valid = kind != NULL;
	struct race race = { .cpus = 1 };
	char *whom;

	valid &= text_number(text_next_word(&arguments), &race.count) && race.count > 0;
	whom = text_next_word(&arguments);
	if (!valid || (*whom && !text_equal(whom, "all"))) {
		print("usage: exits KIND COUNT [all], KIND one of");
		for (u32 i = 0; i < sizeof kinds / sizeof *kinds; i++)
			print(" %s", kinds[i].name);
		print("\n");
		return;
	}
	if (kind->needs_exerciser && !exerciser_present()) {
		print("exits: %s needs the exerciser, which this machine lacks\n", kind->name);
		return;
	}
	if (*whom)
		race.cpus = smp_start();
	apic_enable();
	race.loop = kind->loop;
	run(&race);
	if (race.loop == msr_loop && race.vector != NO_EXCEPTION) {
		print("exits: no MSR %x here, reading %x instead\n", EXERCISER_MSR, MSR_APIC_BASE);
		race.loop = apic_base_loop;
		run(&race);
	}
	report(kind, &race, clock_ns() - race.start_ns);
}
