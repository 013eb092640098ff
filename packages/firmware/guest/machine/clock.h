/*
 * Time since the guest was entered, by the ACPI PM timer.
 */
#pragma once

#include "types.h"

/* `at_entry` is what the timer read when the guest was entered. */
void clock_init(u32 at_entry);

/* False where there is no PM timer: then no time passes. */
bool clock_works(void);

/* Since entry. */
u64 clock_ns(void);

/* Waits at least this long, also where there is no PM timer. */
void clock_delay_us(u64 us);

/* For print("%lu.%lu"): a value in tenths of a unit, rounded. */
#define TENTHS(value, unit) ((value) + (unit) / 20) / (unit), ((value) + (unit) / 20) / ((unit) / 10) % 10
#define NS_PER_US 1000ul
#define NS_PER_MS 1000000ul
