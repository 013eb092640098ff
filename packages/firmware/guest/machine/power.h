/*
 * The ways in which a guest ends: off, reset, or with a status for a test.
 */
#pragma once

#include "types.h"

/* Off by ACPI; where that is missing, by the debug-exit port. */
void __attribute__((noreturn)) power_off(void);

/* Ends the machine with the status (code << 1) | 1; returns where there is no such port. */
void debug_exit(u32 code);

void __attribute__((noreturn)) machine_reset(void);

/* With an empty IDT, no exception can be delivered (Intel SDM vol 3, 6.15, double fault). */
void __attribute__((noreturn)) triple_fault(void);

void __attribute__((noreturn)) halt_forever(void);
