/** Little-endian structures and the one-byte checksum that ACPI and the MP table share. */

/** A structure of known size, all zeros until its fields are written. Offsets are those of its specification. */
export class StructBytes {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
    this.#view = new DataView(this.bytes.buffer);
  }

  u8(offset: number, value: number): this {
    this.#view.setUint8(offset, fitting(value, 1));
    return this;
  }

  u16(offset: number, value: number): this {
    this.#view.setUint16(offset, fitting(value, 2), true);
    return this;
  }

  u32(offset: number, value: number): this {
    this.#view.setUint32(offset, fitting(value, 4), true);
    return this;
  }

  /** `value` is an integer that a number holds exactly. */
  u64(offset: number, value: number): this {
    this.#view.setBigUint64(offset, BigInt(fitting(value, 8)), true);
    return this;
  }

  /** Exactly `sizeBytes` of ASCII, filled up with spaces. */
  text(offset: number, sizeBytes: number, text: string): this {
    if (text.length > sizeBytes) throw new RangeError(`"${text}" is longer than ${sizeBytes} bytes`);
    this.bytes.set(ascii(text.padEnd(sizeBytes)), offset);
    return this;
  }

  set(offset: number, bytes: Uint8Array): this {
    this.bytes.set(bytes, offset);
    return this;
  }

  /** Makes the bytes from 0 to `sizeBytes` add up to zero, by the byte at `offset`. */
  checksum(offset: number, sizeBytes: number = this.bytes.length): this {
    this.bytes[offset] = 0;
    this.bytes[offset] = checksumOf(this.bytes.subarray(0, sizeBytes));
    return this;
  }
}

/** The byte that makes `bytes` and itself add up to zero, modulo 256. */
export function checksumOf(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** One byte a character. Throws a RangeError unless all are ASCII. */
export function ascii(text: string): Uint8Array {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII includes them
  if (!/^[\x00-\x7f]*$/.test(text)) throw new RangeError(`${JSON.stringify(text)} is not ASCII`);
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export function alignUp(value: number, alignBytes: number): number {
  return Math.ceil(value / alignBytes) * alignBytes;
}

function fitting(value: number, sizeBytes: number): number {
  if (Number.isSafeInteger(value) && value >= 0 && value < 2 ** (8 * sizeBytes)) return value;
  throw new RangeError(`${value} is no unsigned integer of ${sizeBytes} bytes`);
}
