/** Firmware in a ROM, and its variables in flash: where a PC has them, and which files can be one. */
import { type MachineSpec, PAGE_BYTES } from "./spec.js";

export interface Firmware {
  /** As people call it: a word or a path. */
  readonly name: string;
  /** Checked by `romFault`. */
  readonly bytes: Uint8Array;
  /** What it has to find on the PCI bus to know where it is. */
  readonly chipset?: MachineSpec["chipset"];
  /** What the flash chip below the ROM holds, where firmware keeps its variables. */
  readonly variables?: FlashContents;
}

/** A flash chip's cells when the machine is switched on, and the file that they are saved to. */
export interface FlashContents {
  /** Whole pages. */
  readonly bytes: Uint8Array;
  /** Open for writing, as long as the machine lives; without it nothing is kept. */
  readonly fd?: number;
}

/** A ROM ends where 32 bits do: a CPU's first instruction is 16 bytes below. */
export const ROM_END = 2 ** 32;
/** The end of it is seen below 1 MiB as well, where real mode can reach it. */
const SHADOW_END = 2 ** 20;
const SHADOW_MAX_BYTES = 256 * 1024;

/** As much as PC chipsets leave to it. Devices and what KVM needs for itself are below. */
const ROM_MAX_BYTES = 8 * 2 ** 20;

/** Why such a file cannot be a ROM, as a clause; undefined when it can. */
export function romFault(sizeBytes: number): string | undefined {
  if (sizeBytes > 0 && sizeBytes % PAGE_BYTES === 0 && sizeBytes <= ROM_MAX_BYTES) return undefined;
  return `a ROM is 4 KiB to ${ROM_MAX_BYTES / 2 ** 20} MiB in steps of 4 KiB, and this has ${sizeBytes} bytes`;
}

/** Where the flash chip is: it ends where the ROM begins. */
export function flashBase({ bytes, variables }: Firmware): number {
  return ROM_END - bytes.length - (variables?.bytes.length ?? 0);
}

/** Copies a ROM to the RAM below 1 MiB, as chipsets do before firmware runs from there: it can write where it stands. */
export function shadowRom(ram: { write(gpa: number, bytes: Uint8Array): void }, bytes: Uint8Array): void {
  const end = bytes.subarray(-SHADOW_MAX_BYTES);
  ram.write(SHADOW_END - end.length, end);
}
