/** Reads foreign bytes in order, and never past their end. */
import { PerfDataError } from "./error.js";

export class Bytes {
  readonly view: DataView;
  at = 0;
  /** Where in the file the first byte is, for messages. */
  readonly #origin: number;

  constructor(bytes: Uint8Array, origin: number) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#origin = origin;
  }

  get length(): number {
    return this.view.byteLength;
  }

  get left(): number {
    return this.length - this.at;
  }

  get offset(): number {
    return this.#origin + this.at;
  }

  fail(problem: string): never {
    throw new PerfDataError(problem, this.offset);
  }

  u8(): number {
    return this.view.getUint8(this.#take(1));
  }

  u32(): number {
    return this.view.getUint32(this.#take(4), true);
  }

  /** A number that counts or places something: beyond 2^53 it is none. */
  u64(): number {
    const at = this.#take(8);
    const high = this.view.getUint32(at + 4, true);
    if (high >= 2 ** 21) {
      this.at = at;
      this.fail(`the number 0x${this.view.getBigUint64(at, true).toString(16)} is too large to be a size or an offset`);
    }
    return high * 2 ** 32 + this.view.getUint32(at, true);
  }

  /** Any 64 bits. */
  bits64(): bigint {
    return this.view.getBigUint64(this.#take(8), true);
  }

  skip(count: number): void {
    this.#take(count);
  }

  bytes(count: number): Uint8Array {
    const at = this.#take(count);
    return new Uint8Array(this.view.buffer, this.view.byteOffset + at, count);
  }

  /** Text up to a zero byte, which is taken too. */
  zeroTerminated(): string {
    const rest = new Uint8Array(this.view.buffer, this.view.byteOffset + this.at, this.left);
    const length = rest.indexOf(0);
    if (length === -1) this.fail("a text has no end");
    this.at += length + 1;
    return latin1(rest.subarray(0, length));
  }

  /** Text in a field of so many bytes, up to its first zero. */
  text(count: number): string {
    const bytes = this.bytes(count);
    const end = bytes.indexOf(0);
    return latin1(end === -1 ? bytes : bytes.subarray(0, end));
  }

  #take(count: number): number {
    if (count > this.left) this.fail(`${count} bytes should follow, there are ${this.left}`);
    const { at } = this;
    this.at += count;
    return at;
  }
}

export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}
