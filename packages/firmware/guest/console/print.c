/*
 * Formatted output. Literal text goes to the serial port in whole runs: on a slow CPU the formatting costs more than
 * the sending.
 */
#include "console/print.h"

#include <stdarg.h>

#include "cpu/spinlock.h"
#include "machine/serial.h"

static struct spinlock console;
static bool lock_broken;

static void acquire(void)
{
	if (!lock_broken)
		lock(&console);
}

void print_break_lock(void)
{
	for (u32 i = 0; i < 10000 && !try_lock(&console); i++)
		relax();
	lock_broken = true;
}

static void pad(u64 length, u64 width)
{
	for (; length < width; length++)
		serial_write(" ", 1);
}

static void put_text(const char *text, u64 width, bool left)
{
	u64 length = 0;

	while (text[length])
		length++;
	if (!left)
		pad(length, width);
	serial_write(text, length);
	if (left)
		pad(length, width);
}

static void put_number(u64 value, u32 base, u64 width, bool zeros, bool left)
{
	char digits[24];
	char *at = digits + sizeof digits - 1;

	*at = 0;
	do {
		*--at = "0123456789abcdef"[value % base];
		value /= base;
	} while (value || (zeros && at > digits && (u64)(digits + sizeof digits - 1 - at) < width));
	put_text(at, width, left);
}

/* Prints one conversion and returns what follows it. */
static const char *convert(const char *format, va_list *arguments)
{
	bool left = false, zeros = false, is_long = false;
	char character[2] = { 0, 0 };
	u64 width = 0, value;

	for (; *format == '-' || *format == '0'; format++) {
		left |= *format == '-';
		zeros |= *format == '0';
	}
	for (; *format >= '0' && *format <= '9'; format++)
		width = 10 * width + *format - '0';
	for (; *format == 'l'; format++)
		is_long = true;

	switch (*format) {
	case 's':
		put_text(va_arg(*arguments, const char *), width, left);
		break;
	case 'c':
		character[0] = va_arg(*arguments, int);
		put_text(character, width, left);
		break;
	case 'u':
	case 'x':
		value = is_long ? va_arg(*arguments, u64) : va_arg(*arguments, u32);
		put_number(value, *format == 'x' ? 16 : 10, width, zeros, left);
		break;
	}
	return format + 1;
}

void print(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	acquire();
	while (*format) {
		const char *run = format;

		while (*format && *format != '%' && *format != '\n')
			format++;
		serial_write(run, format - run);
		if (*format == '\n') {
			serial_write("\r\n", 2);
			format++;
		} else if (*format == '%') {
			format = convert(format + 1, &arguments);
		}
	}
	unlock(&console);
	va_end(arguments);
}

void print_bytes(const char *bytes, u64 size)
{
	acquire();
	serial_write(bytes, size);
	unlock(&console);
}
