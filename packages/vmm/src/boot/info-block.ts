import type { E820Entry } from "../machine/memory-map.js";

/** A module where the loader has put it. */
export interface PlacedModule {
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly commandLine: string;
}

/** What a boot protocol's information structure tells the kernel. */
export interface InfoContents {
  readonly commandLine: string;
  readonly modules: readonly PlacedModule[];
  readonly memoryMap: readonly E820Entry[];
  /** Physical address of the ACPI root pointer; 0 when there is none. */
  readonly rsdp: number;
}

/** A structure, table or string in an InfoBlock. */
class Part {
  readonly gpa: number;
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(gpa: number, bytes: Uint8Array) {
    this.gpa = gpa;
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(offset: number, value: number): this {
    this.#view.setUint8(offset, value);
    return this;
  }

  u16(offset: number, value: number): this {
    this.#view.setUint16(offset, value, true);
    return this;
  }

  u32(offset: number, value: number): this {
    this.#view.setUint32(offset, value, true);
    return this;
  }

  u64(offset: number, value: number | bigint): this {
    this.#view.setBigUint64(offset, BigInt(value), true);
    return this;
  }
}

/**
 * Structures and the strings and tables they point at, built as one block of bytes for a known guest address. Its
 * length does not depend on that address, so a block built at 0 tells how much room the real one takes.
 */
export class InfoBlock {
  readonly #gpa: number;
  readonly #parts: Part[] = [];
  #length = 0;

  constructor(gpa: number) {
    this.#gpa = gpa;
  }

  /** `sizeBytes` of zeros at the next multiple of eight. */
  reserve(sizeBytes: number): Part {
    const part = new Part(this.#gpa + this.#length, new Uint8Array(sizeBytes));
    this.#parts.push(part);
    this.#length += Math.ceil(sizeBytes / 8) * 8;
    return part;
  }

  /** Places a zero-terminated string and returns its guest address. */
  string(text: string): number {
    const encoded = new TextEncoder().encode(text);
    const part = this.reserve(encoded.length + 1);
    part.bytes.set(encoded);
    return part.gpa;
  }

  bytes(): Uint8Array {
    const all = new Uint8Array(this.#length);
    for (const part of this.#parts) all.set(part.bytes, part.gpa - this.#gpa);
    return all;
  }
}
