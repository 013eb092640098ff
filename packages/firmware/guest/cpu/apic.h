/*
 * The local APIC of each CPU and the IOAPIC, as far as the guest needs interrupts.
 */
#pragma once

#include "types.h"

/* Turns this CPU's local APIC on. Does nothing the second time. */
void apic_enable(void);

u32 apic_id(void);
u32 apic_version(void);
void apic_end_of_interrupt(void);

/* One TIMER_VECTOR after `ticks` of the bus clock: of KVM's, a nanosecond each. */
void apic_timer_start(u32 ticks);

/* To all CPUs but this one. */
void apic_send_init(void);
void apic_send_startup(u64 address);
void apic_send_interrupt(u8 vector);

/* Routes an ISA interrupt line to this CPU. */
void ioapic_route(u32 line, u8 vector);
