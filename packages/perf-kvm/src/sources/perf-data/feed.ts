/** Brings the bytes of records, one after the other, into the reader's window. */
import type { ByteSource } from "./byte-source.js";

export interface Feed {
  /** Where in the file the byte is that `fill` gives next. */
  readonly position: number;
  /** Puts up to `length` bytes at `at`; 0 when there are no more. */
  fill(into: Uint8Array, at: number, length: number): number;
}

/** The bytes as the file has them, up to the end of its records. */
export class PlainFeed implements Feed {
  readonly #source: ByteSource;
  readonly #end: number;

  constructor(source: ByteSource, end = Number.POSITIVE_INFINITY) {
    this.#source = source;
    this.#end = end;
  }

  get position(): number {
    return this.#source.position;
  }

  fill(into: Uint8Array, at: number, length: number): number {
    return this.#source.read(into, at, Math.min(length, this.#end - this.#source.position));
  }

  /** Passes over bytes; the end of a stream ends that too. */
  skip(count: number): void {
    if (this.#source.sizeBytes !== undefined) {
      this.#source.position = Math.min(this.#end, this.#source.position + count);
      return;
    }
    const scratch = new Uint8Array(Math.min(count, 2 ** 16));
    for (let left = count; left > 0; ) {
      const got = this.#source.read(scratch, 0, Math.min(left, scratch.length));
      if (got === 0) return;
      left -= got;
    }
  }
}
