/*
 * The other CPUs: starting them, and having all of them do something.
 */
#pragma once

#include "types.h"

/* Starts all others, the first time. The number of CPUs that run, this one included. */
u32 smp_start(void);

/*
 * Runs `job(argument)` on every CPU that runs, this one included, and waits for all. Their number. The job learns its
 * own CPU from this_cpu().
 */
u32 smp_run(void (*job)(void *argument), void *argument);

/* Within a job: lets the CPUs do what follows one after the other, by their APIC ids, between these two. */
void smp_turn_begin(void);
void smp_turn_end(void);
