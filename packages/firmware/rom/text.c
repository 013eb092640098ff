#include "text.h"

#include "instructions.h"

#define DEBUG_CONSOLE 0x402
/* A 16550's data, line status, and the bit of it that says that a byte can be sent. */
#define SERIAL_DATA 0x3f8
#define SERIAL_STATUS 0x3fd
#define SERIAL_THRE 0x20
/* A port without a device reads as ones, and then nothing is sent for nothing. */
#define NO_DEVICE 0xff

void *memcpy(void *to, const void *from, u32 count)
{
	void *result = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
	return result;
}

void *memset(void *to, int value, u32 count)
{
	void *result = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
	return result;
}

u32 text_length(const char *text)
{
	u32 length = 0;

	while (text[length])
		length++;
	return length;
}

/* Whether one of a word's bytes is zero. */
static bool8 has_end(u32 word)
{
	return ((word - 0x01010101) & ~word & 0x80808080) != 0;
}

/* By words, because names begin alike and some hosts take a microsecond for an instruction. */
bool8 text_equals(const char *text, const char *other, u32 bytes)
{
	u32 i = 0;

	while (bytes - i >= sizeof(u32)) {
		u32 word = *(const u32 *)(text + i);

		if (word != *(const u32 *)(other + i))
			break;
		if (has_end(word))
			return 1;
		i += sizeof(u32);
	}
	for (; i < bytes; i++) {
		if (text[i] != other[i])
			return 0;
		if (!text[i])
			return 1;
	}
	return 0;
}

void log_text(const char *text)
{
	outsb(DEBUG_CONSOLE, text, text_length(text));
}

void log_number(u32 number)
{
	char digits[10];
	u32 first = sizeof(digits);

	do {
		digits[--first] = '0' + number % 10;
		number /= 10;
	} while (number);
	outsb(DEBUG_CONSOLE, digits + first, sizeof(digits) - first);
}

void log_end(void)
{
	outb(DEBUG_CONSOLE, '\n');
}

static void serial_text(const char *text)
{
	for (; *text; text++) {
		while (!(inb(SERIAL_STATUS) & SERIAL_THRE))
			;
		outb(SERIAL_DATA, *text);
	}
}

void fail(const char *why)
{
	log_text("rom: ");
	log_text(why);
	log_end();
	if (inb(SERIAL_STATUS) != NO_DEVICE) {
		serial_text("rom: ");
		serial_text(why);
		serial_text("\r\n");
	}
	halt();
}
