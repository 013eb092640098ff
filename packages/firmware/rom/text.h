/*
 * The ROM's log, on the debug console at port 0x402; and its last words, which go to the serial port too.
 */
#pragma once

#include "types.h"

void log_text(const char *text);
void log_number(u32 number);
void log_end(void);

/* Says what is wrong and stops this CPU for good. */
void __attribute__((noreturn)) fail(const char *why);
/* Of enter.S. */
void __attribute__((noreturn)) halt(void);

u32 text_length(const char *text);
/* Whether two texts are the same; `bytes` are at most what is compared, and a few behind an end may be read. */
bool8 text_equals(const char *text, const char *other, u32 bytes);

/* For the compiler, which makes calls of them. */
void *memcpy(void *to, const void *from, u32 count);
void *memset(void *to, int value, u32 count);
