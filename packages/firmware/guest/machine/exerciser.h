/*
 * The exerciser: a device of tools-kvm for measuring the ways out of a guest. A page of registers and an MSR.
 * src/exerciser.ts has the same numbers; a test compares them.
 */
#pragma once

#include "cpu/instructions.h"

#define EXERCISER_BASE 0xfeb00000

/* Reads as EXERCISER_ID: the letters EXER. */
#define EXERCISER_ID_OFFSET 0x000
#define EXERCISER_ID 0x52455845
/* Read and write. */
#define EXERCISER_SCRATCH_OFFSET 0x004
/* How many writes have reached the device in each of the two zones. */
#define EXERCISER_COALESCED_COUNT_OFFSET 0x008
#define EXERCISER_IOEVENTFD_COUNT_OFFSET 0x00c
/* Writes here may be gathered by the kernel (coalesced MMIO). */
#define EXERCISER_COALESCED_OFFSET 0x400
/* Writes here may become an eventfd's count. */
#define EXERCISER_IOEVENTFD_OFFSET 0x800

/* Read and write; the VMM answers. From the block that KVM keeps for itself. */
#define EXERCISER_MSR 0x4b564dff

static inline u32 exerciser_read(u32 offset)
{
	return mmio_read(EXERCISER_BASE + offset);
}

static inline bool exerciser_present(void)
{
	return exerciser_read(EXERCISER_ID_OFFSET) == EXERCISER_ID;
}
