/*
 * The PM timer: 3.579545 MHz, 24 or 32 bits wide (ACPI 6.5, 4.8.3.3). A 24-bit one wraps every 4.7 s; the time-stamp
 * counter, whose rate is learnt from the timer itself, tells how often it has.
 */
#include "machine/clock.h"

#include "cpu/instructions.h"
#include "machine/ports.h"

#define NARROW_BITS 24
#define ABSENT 0xffffffff
/* 1 / 3.579545 MHz, in femtoseconds. */
#define FS_PER_TICK 279365115ul
#define FS_PER_NS 1000000ul
/* Binary digits behind the point of a TSC rate. */
#define RATE_SHIFT 8

static struct {
	bool absent;
	/* The timer has shown more than 24 bits. */
	bool wide;
	u32 last;
	u64 ticks;
	u64 tsc_at_entry;
} pm_timer;

void clock_init(u32 at_entry)
{
	pm_timer.last = at_entry;
	pm_timer.absent = at_entry == ABSENT;
	pm_timer.tsc_at_entry = read_tsc();
}

/* How many times a narrow timer has gone round unseen, from how far the TSC has come since the last look. */
static u64 missed_rounds(u64 ticks_before, u64 tsc_before, u64 ticks, u64 tsc)
{
	u64 rate = ticks_before ? (tsc_before << RATE_SHIFT) / ticks_before : 0;
	u64 expected = rate ? (tsc << RATE_SHIFT) / rate : 0;

	return expected > ticks ? (expected - ticks + (1 << (NARROW_BITS - 1))) >> NARROW_BITS : 0;
}

static u64 ticks_since_entry(void)
{
	static u64 tsc_before;
	u64 ticks_before = pm_timer.ticks;
	u32 now = inl(PM_TIMER);
	u64 tsc = read_tsc() - pm_timer.tsc_at_entry;

	pm_timer.wide |= now >> NARROW_BITS || pm_timer.last >> NARROW_BITS;
	pm_timer.ticks += (now - pm_timer.last) & (pm_timer.wide ? 0xffffffff : (1 << NARROW_BITS) - 1);
	if (!pm_timer.wide)
		pm_timer.ticks += missed_rounds(ticks_before, tsc_before, pm_timer.ticks, tsc) << NARROW_BITS;
	pm_timer.last = now;
	tsc_before = tsc;
	return pm_timer.ticks;
}

u64 clock_ns(void)
{
	u64 ticks = pm_timer.absent ? 0 : ticks_since_entry();

	/* Two steps, so that it holds for as long as a machine runs. */
	return ticks / FS_PER_NS * FS_PER_TICK + ticks % FS_PER_NS * FS_PER_TICK / FS_PER_NS;
}

bool clock_works(void)
{
	if (!pm_timer.absent && pm_timer.ticks == 0)
		pm_timer.absent = ticks_since_entry() == 0;
	return !pm_timer.absent;
}

void clock_delay_us(u64 us)
{
	u64 end = clock_ns() + us * NS_PER_US;

	/* An access to a port takes about a microsecond, as that is what the ISA bus takes; on a guest, longer. */
	if (!clock_works())
		for (u64 i = 0; i < us; i++)
			inb(POST_CODE);
	else
		while (clock_ns() < end)
			relax();
}
