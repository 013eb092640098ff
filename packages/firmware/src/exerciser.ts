/**
 * The exerciser, a device of ours for measuring the ways out of a guest: what the embedded guest expects of it.
 * guest/machine/exerciser.h has the same numbers; a test compares them.
 */

/** Guest-physical address of its page of registers. */
export const EXERCISER_BASE = 0xfeb0_0000;

/** What the ID register reads as: the letters "EXER", the first in the highest byte. */
export const EXERCISER_ID = 0x52455845;

/** Offsets of its 32-bit registers. */
export const EXERCISER_REGISTER = {
  ID: 0x000,
  /** Holds what is written. `exits mmio` reads it. */
  SCRATCH: 0x004,
  /** How many writes to the coalesced zone have reached the device. */
  COALESCED_COUNT: 0x008,
  /** How many writes to the doorbell have reached the device, instead of an eventfd. */
  IOEVENTFD_COUNT: 0x00c,
  /** Writes from here on may be gathered by the kernel. */
  COALESCED: 0x400,
  /** Writes here may become an eventfd's count. */
  IOEVENTFD: 0x800,
} as const;

/** The MSR whose accesses the VMM answers; from the block KVM keeps for itself (Documentation/virt/kvm/x86/msr.rst). */
export const EXERCISER_MSR = 0x4b56_4dff;
