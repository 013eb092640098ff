/*
 * Local APIC in xAPIC mode (Intel SDM vol 3, chapter 10) and IOAPIC (Intel 82093AA datasheet, 3.2). The two 8259 PICs
 * are masked for good.
 */
#include "cpu/apic.h"

#include "cpu/cpu.h"
#include "cpu/instructions.h"
#include "cpu/registers.h"
#include "machine/ports.h"

enum lapic_register {
	VERSION = 0x30,
	END_OF_INTERRUPT = 0xb0,
	SPURIOUS = 0xf0,
	COMMAND_LOW = 0x300,
	COMMAND_HIGH = 0x310,
	LVT_TIMER = 0x320,
	LVT_LINT0 = 0x350,
	TIMER_INITIAL = 0x380,
	TIMER_DIVIDE = 0x3e0,
};

#define SPURIOUS_APIC_ENABLED (1 << 8)
#define LVT_MASKED (1 << 16)
#define COMMAND_INIT (5 << 8)
#define COMMAND_STARTUP (6 << 8)
#define COMMAND_PENDING (1 << 12)
#define COMMAND_ASSERT (1 << 14)
#define COMMAND_ALL_BUT_SELF (3 << 18)
#define DIVIDE_BY_1 0xb

/* The IOAPIC's registers are reached through a window: an index, then the data. */
#define IOAPIC_INDEX (IOAPIC_BASE + 0x00)
#define IOAPIC_DATA (IOAPIC_BASE + 0x10)
/* Redirection entries: two registers each. Edge, active high, fixed and physical are all zeros. */
#define IOAPIC_REDIRECTION(line) (0x10 + 2 * (line))
#define IOAPIC_DESTINATION_SHIFT 24

static u32 lapic_read(enum lapic_register r)
{
	return mmio_read(LAPIC_BASE + r);
}

static void lapic_write(enum lapic_register r, u32 value)
{
	mmio_write(LAPIC_BASE + r, value);
}

void apic_enable(void)
{
	const u32 enabled = SPURIOUS_APIC_ENABLED | SPURIOUS_VECTOR;

	if (lapic_read(SPURIOUS) == enabled)
		return;
	/* Firmware may have left the PICs at work, with vectors that are exceptions here. */
	outb(PIC1_DATA, PIC_MASK_ALL);
	outb(PIC2_DATA, PIC_MASK_ALL);
	lapic_write(LVT_LINT0, LVT_MASKED);
	lapic_write(SPURIOUS, enabled);
}

u32 apic_id(void)
{
	return mmio_read(LAPIC_BASE + LAPIC_ID) >> LAPIC_ID_SHIFT;
}

u32 apic_version(void)
{
	return lapic_read(VERSION) & 0xff;
}

void apic_end_of_interrupt(void)
{
	lapic_write(END_OF_INTERRUPT, 0);
}

void apic_timer_start(u32 ticks)
{
	lapic_write(TIMER_DIVIDE, DIVIDE_BY_1);
	lapic_write(LVT_TIMER, TIMER_VECTOR);
	lapic_write(TIMER_INITIAL, ticks);
}

static void send(u32 command)
{
	while (lapic_read(COMMAND_LOW) & COMMAND_PENDING)
		relax();
	lapic_write(COMMAND_HIGH, 0);
	lapic_write(COMMAND_LOW, command | COMMAND_ASSERT | COMMAND_ALL_BUT_SELF);
}

void apic_send_init(void)
{
	send(COMMAND_INIT);
}

void apic_send_startup(u64 address)
{
	send(COMMAND_STARTUP | address >> 12);
}

void apic_send_interrupt(u8 vector)
{
	send(vector);
}

void ioapic_route(u32 line, u8 vector)
{
	mmio_write(IOAPIC_INDEX, IOAPIC_REDIRECTION(line) + 1);
	mmio_write(IOAPIC_DATA, apic_id() << IOAPIC_DESTINATION_SHIFT);
	mmio_write(IOAPIC_INDEX, IOAPIC_REDIRECTION(line));
	mmio_write(IOAPIC_DATA, vector);
}

/* The handlers. The compiler saves what they use; all that matters is that the CPU woke up, and a count. */
struct interrupt_frame;

__attribute__((interrupt)) void timer_interrupt(struct interrupt_frame *frame);
__attribute__((interrupt)) void serial_interrupt(struct interrupt_frame *frame);
__attribute__((interrupt)) void job_interrupt(struct interrupt_frame *frame);
__attribute__((interrupt)) void spurious_interrupt(struct interrupt_frame *frame);

void timer_interrupt(struct interrupt_frame *frame)
{
	(void)frame;
	this_cpu()->timer_interrupts++;
	apic_end_of_interrupt();
}

void serial_interrupt(struct interrupt_frame *frame)
{
	(void)frame;
	this_cpu()->serial_interrupts++;
	apic_end_of_interrupt();
}

void job_interrupt(struct interrupt_frame *frame)
{
	(void)frame;
	apic_end_of_interrupt();
}

/* Not acknowledged: a spurious interrupt has no bit in the in-service register (SDM vol 3, 10.9). */
void spurious_interrupt(struct interrupt_frame *frame)
{
	(void)frame;
}
