/*
 * Short trips to CPL3. Some hosts run CPL3 natively but emulate CPL0, and some exits cost more from there.
 */
#pragma once

#include "types.h"

/*
 * Runs `code` (in section .user) at CPL3 with interrupts off, no stack and `argument` in RCX, until it meets an
 * exception; it means to leave by `ud2`. The vector of that exception. Of the I/O ports it may use the latch alone.
 * Neither a system call nor `int n` would do as a way back: not every host lets them through.
 */
u64 enter_user(const void *code, u64 argument);

/* Opens the 2 MiB page of a device's registers to CPL3. */
void user_allow(u64 address);

/* The way back, from the exception's handler. */
void __attribute__((noreturn)) leave_user(u64 monitor_rsp, u64 vector);

/* For enter_user(): gives this CPU a TSS, without which no exception finds its way out of CPL3. */
struct cpu *user_prepare(void);

/* What there is to run. Each returns by ud2. */
extern const u8 user_nothing[];
/* `argument` times: a byte to the latch port. */
extern const u8 user_pio_loop[];
/* `argument` times nothing. */
extern const u8 user_spin_loop[];
/* Reads the byte at `argument`. */
extern const u8 user_load[];
