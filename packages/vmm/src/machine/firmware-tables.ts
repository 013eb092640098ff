/**
 * What firmware leaves in memory for an operating system: the one place where tables are written, and where the ACPI
 * root pointer that boot protocols hand over comes from.
 */
import { buildAcpiTables, buildMpTable, buildSmbios } from "@tools-kvm/firmware";
import type { GuestRam } from "./guest-ram.js";
import { ramRegions } from "./memory-map.js";
import { describePc } from "./pc.js";
import type { MachineSpec } from "./spec.js";

/** A table, or several, at a guest physical address. */
export interface TableSegment {
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

export interface FirmwareTables {
  readonly segments: readonly TableSegment[];
  /** Physical address of the ACPI root pointer. */
  readonly rsdp: number;
}

/** ACPI's tables, an MP table for kernels that know no ACPI, and SMBIOS. They lie in what the memory map calls reserved. */
export function firmwareTables(spec: MachineSpec): FirmwareTables {
  const machine = describePc(spec);
  const acpi = buildAcpiTables(machine);
  const smbios = buildSmbios({ cpus: spec.cpus, ram: ramRegions(spec.memoryBytes) });
  return { segments: [...acpi.segments, ...buildMpTable(machine).segments, ...smbios.segments], rsdp: acpi.rsdp };
}

/** Writes them into RAM. At each boot: the guest before may have overwritten them. */
export function placeFirmwareTables(ram: GuestRam, { segments }: FirmwareTables): void {
  for (const { gpa, bytes } of segments) ram.write(gpa, bytes);
}
