/*
 * `selftest`: checks of the machine and of this guest, reported as KTAP does (Linux, dev-tools/ktap.rst). A device
 * that a machine may lack is skipped when it is not there.
 */
#include "boot/boot-info.h"
#include "commands/commands.h"
#include "console/print.h"
#include "cpu/apic.h"
#include "cpu/cpu.h"
#include "cpu/exceptions.h"
#include "cpu/instructions.h"
#include "cpu/registers.h"
#include "cpu/smp.h"
#include "cpu/user-mode.h"
#include "machine/clock.h"
#include "machine/exerciser.h"
#include "machine/fw-cfg.h"
#include "machine/ports.h"
#include "machine/rtc.h"
#include "machine/serial.h"

bool selftest_failed;

enum verdict { FAILED, PASSED, SKIPPED };

/* Canonical addresses have bits 63 to 47 alike; this one has not (Intel SDM vol 1, 3.3.7.1). */
#define NON_CANONICAL (1ul << 63)
/* The page tables end here. */
#define UNMAPPED (4ul << 30)
/* Long enough for any interrupt that comes at all. */
#define INTERRUPT_TIMEOUT_US 500000
#define TIMER_TICKS 100000

static enum verdict verdict(bool passed)
{
	return passed ? PASSED : FAILED;
}

static enum verdict test_long_mode(void)
{
	return verdict(read_msr(MSR_EFER) & EFER_LMA);
}

static enum verdict test_pm_timer(void)
{
	u64 before;

	if (!clock_works())
		return SKIPPED;
	before = clock_ns();
	clock_delay_us(100);
	return verdict(clock_ns() - before >= 100 * NS_PER_US);
}

static enum verdict test_rtc(void)
{
	struct date_time now;

	return rtc_present() ? verdict(rtc_read(&now)) : SKIPPED;
}

/* With interrupts on, until `*counter` moves. */
static bool counts(volatile u32 *counter, u32 before)
{
	u32 waited_us = 0;

	interrupts_on();
	for (; *counter == before && waited_us < INTERRUPT_TIMEOUT_US; waited_us += 10)
		clock_delay_us(10);
	interrupts_off();
	return *counter != before;
}

static enum verdict test_timer_interrupt(void)
{
	u32 before = this_cpu()->timer_interrupts;

	apic_enable();
	apic_timer_start(TIMER_TICKS);
	return verdict(counts(&this_cpu()->timer_interrupts, before));
}

static enum verdict test_halt(void)
{
	u32 before = this_cpu()->timer_interrupts;

	apic_timer_start(TIMER_TICKS);
	wait_for_interrupt();
	return verdict(counts(&this_cpu()->timer_interrupts, before));
}

static enum verdict test_serial_scratch(void)
{
	return verdict(serial_scratch_works());
}

static enum verdict test_serial_loopback(void)
{
	return verdict(serial_loopback_works());
}

static enum verdict test_serial_interrupt(void)
{
	u32 before = this_cpu()->serial_interrupts;

	serial_enable_interrupts();
	serial_provoke_interrupt();
	return verdict(counts(&this_cpu()->serial_interrupts, before));
}

static enum verdict test_divide_error(void)
{
	return verdict(try_divide_by_zero() == DIVIDE_ERROR);
}

static enum verdict test_general_protection(void)
{
	return verdict(try_load(NON_CANONICAL) == GENERAL_PROTECTION);
}

static enum verdict test_page_fault(void)
{
	return verdict(try_load(UNMAPPED) == PAGE_FAULT);
}

/* Every word of a page with its own address in it, and then with the opposite; what was there comes back. */
static bool page_holds(u64 page)
{
	bool good = true;

	for (volatile u64 *word = (u64 *)page; word < (u64 *)(page + 4096); word += 8) {
		u64 kept = *word;

		*word = (u64)word;
		good &= *word == (u64)word;
		*word = ~(u64)word;
		good &= *word == ~(u64)word;
		*word = kept;
	}
	return good;
}

/* The last page of each range that the page tables reach. */
static enum verdict test_memory(void)
{
	for (u32 i = 0; i < boot_info.range_count; i++) {
		const struct memory_range *range = &boot_info.ranges[i];
		u64 end = range->start + range->size;
		u64 last_page = (end - 4096) & ~4095ul;

		if (range->type == MEMORY_USABLE && range->size >= 8192 && end <= UNMAPPED && !page_holds(last_page))
			return FAILED;
	}
	return verdict(boot_info.range_count > 0);
}

static enum verdict test_user_mode(void)
{
	return verdict(enter_user(user_nothing, 0) == INVALID_OPCODE);
}

static enum verdict test_user_protection(void)
{
	return verdict(enter_user(user_load, IMAGE_BASE) == PAGE_FAULT);
}

static enum verdict test_exerciser_scratch(void)
{
	const u32 pattern = 0x12345678;

	if (!exerciser_present())
		return SKIPPED;
	mmio_write(EXERCISER_BASE + EXERCISER_SCRATCH_OFFSET, pattern);
	return verdict(exerciser_read(EXERCISER_SCRATCH_OFFSET) == pattern);
}

/* Gathered or not, a write to the zone has reached the device when the next read is answered. */
static enum verdict test_exerciser_coalesced(void)
{
	u32 before = exerciser_read(EXERCISER_COALESCED_COUNT_OFFSET);

	if (!exerciser_present())
		return SKIPPED;
	for (u32 i = 0; i < 3; i++)
		mmio_write(EXERCISER_BASE + EXERCISER_COALESCED_OFFSET, i);
	return verdict(exerciser_read(EXERCISER_COALESCED_COUNT_OFFSET) == before + 3);
}

static enum verdict test_exerciser_msr(void)
{
	u64 value;

	if (!exerciser_present())
		return SKIPPED;
	return verdict(try_read_msr(EXERCISER_MSR, &value) == NO_EXCEPTION);
}

static enum verdict test_testdev_latch(void)
{
	const u32 pattern = 0xfeedface, nothing = 0xffffffff;
	u32 seen;

	outl(TESTDEV_LATCH, pattern);
	seen = inl(TESTDEV_LATCH);
	return seen == nothing ? SKIPPED : verdict(seen == pattern);
}

static enum verdict test_debug_console(void)
{
	const char *text = "selftest was here\n";

	if (inb(DEBUG_CONSOLE) != DEBUG_CONSOLE_ID)
		return SKIPPED;
	while (*text)
		outb(DEBUG_CONSOLE, *text++);
	return PASSED;
}

static void say_hello(void *count)
{
	__atomic_fetch_add((u32 *)count, 1, __ATOMIC_RELAXED);
}

static enum verdict test_all_cpus(void)
{
	u32 expected = fw_cfg_cpu_count(), hellos = 0;
	u32 cpus = smp_start();

	smp_run(say_hello, &hellos);
	return verdict(hellos == cpus && (!expected || cpus == expected));
}

static const struct {
	const char *name;
	enum verdict (*run)(void);
} tests[] = {
	{ "this is 64-bit mode", test_long_mode },
	{ "the PM timer advances", test_pm_timer },
	{ "the RTC has a date", test_rtc },
	{ "the local APIC's timer interrupts", test_timer_interrupt },
	{ "an interrupt ends a halt", test_halt },
	{ "the serial port's scratch register holds", test_serial_scratch },
	{ "the serial port's loopback returns a byte", test_serial_loopback },
	{ "the serial port interrupts through the IOAPIC", test_serial_interrupt },
	{ "a division by zero raises #DE", test_divide_error },
	{ "a non-canonical address raises #GP", test_general_protection },
	{ "an unmapped address raises #PF", test_page_fault },
	{ "memory holds what is written", test_memory },
	{ "CPL3 returns by #UD", test_user_mode },
	{ "CPL3 cannot read the monitor", test_user_protection },
	{ "the exerciser's scratch register holds", test_exerciser_scratch },
	{ "coalesced writes reach the exerciser", test_exerciser_coalesced },
	{ "the exerciser's MSR can be read", test_exerciser_msr },
	{ "the pc-testdev latch holds", test_testdev_latch },
	{ "the debug console answers", test_debug_console },
	{ "all CPUs say hello", test_all_cpus },
};

#define TEST_COUNT ((u32)(sizeof tests / sizeof *tests))

void command_selftest(char *arguments)
{
	u32 failed = 0;

	(void)arguments;
	print("KTAP version 1\n1..%u\n", TEST_COUNT);
	for (u32 i = 0; i < TEST_COUNT; i++) {
		enum verdict result = tests[i].run();

		failed += result == FAILED;
		print("%sok %u - %s%s\n", result == FAILED ? "not " : "", i + 1, tests[i].name,
		      result == SKIPPED ? " # SKIP not on this machine" : "");
	}
	selftest_failed = failed > 0;
	if (failed)
		print("selftest: FAIL (%u of %u)\n", failed, TEST_COUNT);
	else
		print("selftest: PASS (%u tests)\n", TEST_COUNT);
}
