/*
 * Text to the console, one call at a time whichever CPU it comes from.
 */
#pragma once

#include "types.h"

/* A small printf: %s %c %u %x %lu %lx, with a width, 0 and - as in C. A newline is sent as CR LF. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Bytes as they are. */
void print_bytes(const char *bytes, u64 size);

/* For the last words of a CPU: whoever holds the console may never let go. */
void print_break_lock(void);
