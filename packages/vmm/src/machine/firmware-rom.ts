/** Firmware in a ROM: where a PC has it, and which files can be one. */
import { IDENTITY_MAP_ADDR } from "./memory-map.js";

export interface Firmware {
  /** As people call it: a word or a path. */
  readonly name: string;
  /** Checked by `romFault`. */
  readonly bytes: Uint8Array;
}

/** A ROM ends where 32 bits do: a CPU's first instruction is 16 bytes below. */
export const ROM_END = 2 ** 32;
/** The end of it is seen below 1 MiB as well, where real mode can reach it. */
const SHADOW_END = 2 ** 20;

/** What KVM needs on some CPUs is four pages that begin here, and then there is room up to the end. */
const ROM_MAX_BYTES = ROM_END - (IDENTITY_MAP_ADDR + 4 * 4096);
/** Chips come in these. */
const ROM_UNIT_BYTES = 64 * 1024;

/** Why such a file cannot be a ROM, as a clause; undefined when it can. */
export function romFault(sizeBytes: number): string | undefined {
  if (sizeBytes > 0 && sizeBytes % ROM_UNIT_BYTES === 0 && sizeBytes <= ROM_MAX_BYTES) return undefined;
  return `a ROM is 64 KiB to ${ROM_MAX_BYTES / 1024} KiB in steps of 64 KiB, and this has ${sizeBytes} bytes`;
}

/** Copies a ROM to the RAM below 1 MiB, as chipsets do before firmware runs from there: it can write where it stands. */
export function shadowRom(ram: { write(gpa: number, bytes: Uint8Array): void }, bytes: Uint8Array): void {
  ram.write(SHADOW_END - bytes.length, bytes);
}
