/**
 * What firmware leaves in memory for an operating system: the one place where tables are written, and where the ACPI
 * root pointer that boot protocols hand over comes from.
 */
import type { GuestRam } from "./guest-ram.js";
import type { MachineSpec } from "./spec.js";

/** A table, or several, at a guest physical address. */
export interface TableSegment {
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

export interface FirmwareTables {
  readonly segments: readonly TableSegment[];
  /** Physical address of the ACPI root pointer; 0 when there is none. */
  readonly rsdp: number;
}

/** The tables that describe this machine; they lie in what the memory map calls reserved. */
export function firmwareTables(_spec: MachineSpec): FirmwareTables {
  return { segments: [], rsdp: 0 };
}

/** Writes them into RAM. At each boot: the guest before may have overwritten them. */
export function placeFirmwareTables(ram: GuestRam, { segments }: FirmwareTables): void {
  for (const { gpa, bytes } of segments) ram.write(gpa, bytes);
}
