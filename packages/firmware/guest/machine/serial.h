/*
 * The serial port, which is the guest's console.
 */
#pragma once

#include "types.h"

/* Sets the line up; no interrupts yet. */
void serial_init(void);

/* From here on every byte received interrupts this CPU. */
void serial_enable_interrupts(void);

/* Sends everything, however long the other side takes. */
void serial_write(const char *bytes, u64 size);

/* The next byte received; sleeps until there is one. */
char serial_read(void);

/* For the self-test. */
bool serial_scratch_works(void);
bool serial_loopback_works(void);
/* Makes the transmitter interrupt this CPU once. */
void serial_provoke_interrupt(void);
