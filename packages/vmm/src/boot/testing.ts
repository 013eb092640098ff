/** What the tests of booting share: files made to measure, and guest RAM that watches what is written to it. */
import { e820Map } from "../machine/memory-map.js";
import type { RamWriter } from "./load.js";

export interface TestSegment {
  readonly type?: number;
  readonly gpa: number;
  readonly bytes: Uint8Array;
  readonly memorySizeBytes?: number;
  readonly alignBytes?: 4 | 8;
}

export interface TestElf {
  readonly bits?: 32 | 64;
  readonly machine?: number;
  readonly type?: number;
  readonly entry?: number;
  readonly segments: readonly TestSegment[];
}

const PT_LOAD = 1;
const PT_NOTE = 4;

/** An ELF executable: header, program headers, then the segments' bytes one after the other. */
export function buildElf({ bits = 32, machine = 3, type = 2, entry = 0, segments }: TestElf): Uint8Array {
  const [headerBytes, entryBytes] = bits === 32 ? [52, 32] : [64, 56];
  const dataAt = headerBytes + entryBytes * segments.length;
  const file = new Uint8Array(dataAt + segments.reduce((sum, { bytes }) => sum + bytes.length, 0));
  const view = new DataView(file.buffer);
  const address = (at: number, value: number): void => {
    if (bits === 32) view.setUint32(at, value, true);
    else view.setBigUint64(at, BigInt(value), true);
  };
  file.set([0x7f, 0x45, 0x4c, 0x46, bits === 32 ? 1 : 2, 1, 1]);
  view.setUint16(16, type, true);
  view.setUint16(18, machine, true);
  view.setUint32(20, 1, true);
  address(24, entry);
  address(bits === 32 ? 28 : 32, headerBytes);
  view.setUint16(bits === 32 ? 40 : 52, headerBytes, true);
  view.setUint16(bits === 32 ? 42 : 54, entryBytes, true);
  view.setUint16(bits === 32 ? 44 : 56, segments.length, true);
  let at = dataAt;
  segments.forEach(({ type = PT_LOAD, gpa, bytes, memorySizeBytes = bytes.length, alignBytes = 4 }, index) => {
    const header = headerBytes + entryBytes * index;
    const [offset, paddr, filesz, memsz, align] = bits === 32 ? [4, 12, 16, 20, 28] : [8, 24, 32, 40, 48];
    view.setUint32(header, type, true);
    address(header + offset!, at);
    address(header + paddr!, gpa);
    address(header + filesz!, bytes.length);
    address(header + memsz!, memorySizeBytes);
    address(header + align!, alignBytes);
    file.set(bytes, at);
    at += bytes.length;
  });
  return file;
}

const pad4 = (bytes: number[]): number[] => [...bytes, ...new Array<number>((4 - (bytes.length % 4)) % 4).fill(0)];
export const u32le = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);

export interface TestNote {
  readonly name: string;
  readonly type: number;
  readonly desc: number[];
}

/** A note segment that holds one note. */
export function noteSegment({ name, type, desc }: TestNote): TestSegment {
  const text = [...new TextEncoder().encode(name), 0];
  const bytes = [...u32le(text.length), ...u32le(desc.length), ...u32le(type), ...pad4(text), ...pad4(desc)];
  return { type: PT_NOTE, gpa: 0, bytes: Uint8Array.from(bytes) };
}

export const pvhNote = (entry: number): TestSegment => noteSegment({ name: "Xen", type: 18, desc: u32le(entry) });

/** A multiboot header with its checksum; `addresses` are the five words that flag 16 announces. */
export function multibootHeader(flags: number, addresses: readonly number[] = []): Uint8Array {
  const magic = 0x1badb002;
  return Uint8Array.from([magic, flags, -(magic + flags), ...addresses].flatMap(u32le));
}

/** `text` as bytes, for kernels whose content does not matter. */
export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

export interface Written {
  readonly gpa: number;
  readonly sizeBytes: number;
}

/** RAM that throws when it is written outside itself, and remembers where it was written. */
export class FakeRam implements RamWriter {
  readonly sizeBytes: number;
  readonly bytes: Uint8Array;
  readonly written: Written[] = [];

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    this.bytes = new Uint8Array(sizeBytes).fill(0xcc);
  }

  get memoryMap() {
    return e820Map(this.sizeBytes);
  }

  write(gpa: number, bytes: Uint8Array): void {
    this.#note(gpa, bytes.length);
    this.bytes.set(bytes, gpa);
  }

  zero(gpa: number, sizeBytes: number): void {
    this.#note(gpa, sizeBytes);
    this.bytes.fill(0, gpa, gpa + sizeBytes);
  }

  #note(gpa: number, sizeBytes: number): void {
    if (gpa < 0 || gpa + sizeBytes > this.sizeBytes)
      throw new Error(`a write of ${sizeBytes} bytes at ${gpa} is outside`);
    if (sizeBytes > 0) this.written.push({ gpa, sizeBytes });
  }

  u32(gpa: number): number {
    return new DataView(this.bytes.buffer).getUint32(gpa, true);
  }

  u64(gpa: number): number {
    return Number(new DataView(this.bytes.buffer).getBigUint64(gpa, true));
  }

  /** The zero-terminated string at `gpa`. */
  string(gpa: number): string {
    return new TextDecoder().decode(this.bytes.subarray(gpa, this.bytes.indexOf(0, gpa)));
  }
}
