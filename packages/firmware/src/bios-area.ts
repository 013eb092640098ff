/** The last 128 KiB of a PC's first megabyte, where a guest looks for what firmware left it, and what of ours is where. */
import { alignUp } from "./bytes.js";

/** Guest-physical addresses from `start` up to `end`, which is not included. */
export interface Area {
  readonly start: number;
  readonly end: number;
}

/** ACPI's tables. A guest finds the root pointer anywhere from 0xe0000 to 1 MiB (ACPI 6.5, section 5.2.5.1). */
export const ACPI_AREA: Area = { start: 0xe_0000, end: 0xf_0000 };
/** The MP table, whose pointer is looked for from here to 1 MiB (MultiProcessor Specification 1.4, section 4). */
export const MP_TABLE_AREA: Area = { start: 0xf_0000, end: 0xf_f000 };
/** SMBIOS's entry point, looked for from 0xf0000 on, and its structures (SMBIOS 3.6, section 5.2). */
export const SMBIOS_AREA: Area = { start: 0xf_f000, end: 0x10_0000 };

/** Bytes for guest memory. */
export interface Segment {
  /** What it is: the signature that it carries. */
  readonly signature: string;
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

/** Hands out addresses in an area, upwards, and goes on when it is full: `overflow` tells at the end. */
export class AreaLayout {
  readonly segments: Segment[] = [];
  readonly #area: Area;
  #next: number;

  constructor(area: Area) {
    this.#area = area;
    this.#next = area.start;
  }

  /** The address of `sizeBytes` that `put` fills later. Tables are aligned to 16 bytes unless they need more. */
  reserve(sizeBytes: number, alignBytes = 16): number {
    const gpa = alignUp(this.#next, alignBytes);
    this.#next = gpa + sizeBytes;
    return gpa;
  }

  put(signature: string, gpa: number, bytes: Uint8Array): void {
    this.segments.push({ signature, gpa, bytes });
  }

  /** Places `bytes` and returns where. */
  place(signature: string, bytes: Uint8Array, alignBytes?: number): number {
    const gpa = this.reserve(bytes.length, alignBytes);
    this.put(signature, gpa, bytes);
    return gpa;
  }

  /** Undefined when everything fits; otherwise a clause that says by how much it does not. */
  get overflow(): string | undefined {
    const { start, end } = this.#area;
    if (this.#next <= end) return undefined;
    return `${this.#next - start} bytes, and 0x${start.toString(16)} to 0x${end.toString(16)} has ${end - start}`;
  }
}
