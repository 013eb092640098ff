/*
 * A 16550A UART (TI PC16550D datasheet, SNLS378C, chapter 8): polled for output, with an interrupt for input.
 *
 * Received bytes stay in the UART's FIFO until somebody reads them. The interrupt only ends a halt, so there is no
 * second buffer that could overflow, and a host that fills the FIFO no further than it goes loses nothing.
 */
#include "machine/serial.h"

#include "cpu/apic.h"
#include "cpu/instructions.h"
#include "layout.h"
#include "machine/ports.h"

enum serial_register {
	DATA = SERIAL_BASE,
	DIVISOR_LOW = SERIAL_BASE,
	INTERRUPT_ENABLE,
	DIVISOR_HIGH = INTERRUPT_ENABLE,
	FIFO_CONTROL,
	INTERRUPT_ID = FIFO_CONTROL,
	LINE_CONTROL,
	MODEM_CONTROL,
	LINE_STATUS,
	MODEM_STATUS,
	SCRATCH,
};

#define ENABLE_RECEIVED (1 << 0)
#define ENABLE_TRANSMITTER_EMPTY (1 << 1)
#define FIFO_ENABLE (1 << 0)
#define FIFO_BYTES 16
#define LINE_8N1 0x03
#define LINE_DIVISOR (1 << 7)
/* 115200 baud. */
#define DIVISOR 1
#define MODEM_READY 0x03
/* OUT2: on a PC, the switch between the UART and the interrupt line. */
#define MODEM_OUT2 (1 << 3)
#define MODEM_LOOPBACK (1 << 4)
#define STATUS_RECEIVED (1 << 0)
#define STATUS_TRANSMITTER_EMPTY (1 << 5)

#define LOOPBACK_ATTEMPTS 1000

/* Bytes that the self-test took out of the FIFO before their time. */
#define MAX_EARLY 64
static char early[MAX_EARLY];
static u32 early_count;

void serial_init(void)
{
	outb(LINE_CONTROL, LINE_DIVISOR);
	outb(DIVISOR_LOW, DIVISOR);
	outb(DIVISOR_HIGH, DIVISOR >> 8);
	outb(LINE_CONTROL, LINE_8N1);
	outb(FIFO_CONTROL, FIFO_ENABLE);
	outb(MODEM_CONTROL, MODEM_READY | MODEM_OUT2);
	outb(INTERRUPT_ENABLE, 0);
}

void serial_enable_interrupts(void)
{
	apic_enable();
	ioapic_route(SERIAL_LINE, SERIAL_VECTOR);
	outb(INTERRUPT_ENABLE, ENABLE_RECEIVED);
}

void serial_write(const char *bytes, u64 size)
{
	while (size) {
		u64 burst = size < FIFO_BYTES ? size : FIFO_BYTES;

		size -= burst;
		while (!(inb(LINE_STATUS) & STATUS_TRANSMITTER_EMPTY))
			relax();
		/* Once the FIFO is empty it takes a whole burst without asking again. */
		asm volatile("rep outsb" : "+S"(bytes), "+c"(burst) : "d"(DATA) : "memory");
	}
}

static bool received(void)
{
	return inb(LINE_STATUS) & STATUS_RECEIVED;
}

char serial_read(void)
{
	if (early_count) {
		char first = early[0];

		early_count--;
		for (u32 i = 0; i < early_count; i++)
			early[i] = early[i + 1];
		return first;
	}
	/* Interrupts are off, so a byte that comes after the check still ends the halt. */
	while (!received())
		wait_for_interrupt();
	return inb(DATA);
}

bool serial_scratch_works(void)
{
	for (u32 pattern = 0x55; pattern <= 0xaa; pattern += 0x55) {
		outb(SCRATCH, pattern);
		if (inb(SCRATCH) != pattern)
			return false;
	}
	return true;
}

/* A byte that somebody typed during the self-test. */
static void keep_early(char byte)
{
	if (early_count < MAX_EARLY)
		early[early_count++] = byte;
}

bool serial_loopback_works(void)
{
	const u8 sent = 0xa5;
	bool came_back = false;

	while (received())
		keep_early(inb(DATA));
	outb(MODEM_CONTROL, MODEM_READY | MODEM_OUT2 | MODEM_LOOPBACK);
	outb(DATA, sent);
	/* A UART in loopback should be deaf to the line, but not every model of one is. */
	for (u32 attempt = 0; attempt < LOOPBACK_ATTEMPTS && !came_back; attempt++) {
		if (received()) {
			u8 byte = inb(DATA);

			came_back = byte == sent;
			if (!came_back)
				keep_early(byte);
		}
	}
	outb(MODEM_CONTROL, MODEM_READY | MODEM_OUT2);
	return came_back;
}

void serial_provoke_interrupt(void)
{
	outb(INTERRUPT_ENABLE, ENABLE_TRANSMITTER_EMPTY);
	inb(INTERRUPT_ID);
	outb(INTERRUPT_ENABLE, ENABLE_RECEIVED);
}
