/*
 * Starting application processors (Intel SDM vol 3, 8.4.4.1) and giving them work. They are started all at once by a
 * broadcast, so no table has to say who they are; fw_cfg tells how many to wait for, and where it is missing, a
 * silence does. A CPU without work halts until JOB_VECTOR arrives.
 */
#include "cpu/smp.h"

#include "cpu/apic.h"
#include "cpu/cpu.h"
#include "cpu/instructions.h"
#include "machine/clock.h"
#include "machine/fw-cfg.h"

/* A page below 1 MiB in conventional memory; its number is the start-up IPI's vector. */
#define TRAMPOLINE 0x8000

#define INIT_DELAY_US 10000
#define STARTUP_DELAY_US 200
/* How long to wait for CPUs that are known to exist, and for more when nobody knows. */
#define ARRIVAL_TIMEOUT_MS 2000
#define SILENCE_MS 100

extern const u8 ap_trampoline[], ap_trampoline_end[];
void ap_main(u32 id);

static bool started;
/* Once a job has been given out, whoever comes late has missed the boat. */
static volatile bool closed;
static u32 running = 1;

static struct {
	void (*function)(void *argument);
	void *argument;
	volatile u32 number;
	u32 finished;
	/* Which area's turn it is. */
	volatile u32 turn;
} job;

static struct cpu *cpu_at(u32 area)
{
	return (struct cpu *)cpu_areas[area];
}

static u32 count_running(void)
{
	return __atomic_load_n(&running, __ATOMIC_ACQUIRE);
}

void ap_main(u32 id)
{
	struct cpu *cpu = this_cpu();

	cpu->apic_id = id;
	apic_enable();
	if (closed)
		return;
	cpu->online = true;
	__atomic_fetch_add(&running, 1, __ATOMIC_RELEASE);
	for (;;) {
		while (cpu->job == job.number)
			wait_for_interrupt();
		cpu->job = job.number;
		job.function(job.argument);
		__atomic_fetch_add(&job.finished, 1, __ATOMIC_RELEASE);
	}
}

static void wait_for_arrivals(u32 expected)
{
	u32 seen = count_running();
	u32 patience = expected ? ARRIVAL_TIMEOUT_MS : SILENCE_MS;

	for (u32 waited = 0; waited < patience && seen != expected; waited++) {
		clock_delay_us(1000);
		if (!expected && count_running() != seen)
			waited = 0;
		seen = count_running();
	}
}

u32 smp_start(void)
{
	u32 expected = fw_cfg_cpu_count();
	u8 *to = (u8 *)TRAMPOLINE;

	if (started)
		return count_running();
	started = true;
	apic_enable();
	this_cpu()->apic_id = apic_id();
	this_cpu()->online = true;
	if (expected == 1)
		return 1;

	for (const u8 *from = ap_trampoline; from < ap_trampoline_end; from++)
		*to++ = *from;
	apic_send_init();
	clock_delay_us(INIT_DELAY_US);
	/* The second one is for CPUs that missed the first; for the others it is nothing. */
	for (u32 i = 0; i < 2 && count_running() != expected; i++) {
		apic_send_startup(TRAMPOLINE);
		clock_delay_us(STARTUP_DELAY_US);
	}
	wait_for_arrivals(expected);
	return count_running();
}

u32 smp_run(void (*function)(void *argument), void *argument)
{
	u32 count = count_running();

	closed = true;
	job.function = function;
	job.argument = argument;
	job.finished = 0;
	job.turn = 0;
	__atomic_fetch_add(&job.number, 1, __ATOMIC_RELEASE);
	if (count > 1)
		apic_send_interrupt(JOB_VECTOR);
	function(argument);
	while (__atomic_load_n(&job.finished, __ATOMIC_ACQUIRE) != count - 1)
		relax();
	return count;
}

static u32 own_area(void)
{
	return (u8(*)[CPU_AREA_BYTES])this_cpu() - cpu_areas;
}

void smp_turn_begin(void)
{
	while (job.turn != own_area())
		relax();
}

void smp_turn_end(void)
{
	u32 next = own_area() + 1;

	while (next <= MAX_CPUS && !cpu_at(next)->online)
		next++;
	job.turn = next;
}
