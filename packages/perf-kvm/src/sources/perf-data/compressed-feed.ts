/**
 * Records out of PERF_RECORD_COMPRESSED (`perf record -z`): one Zstandard stream over all of them, whose content is
 * records again. What is not compressed stands between them and is passed on. A record may begin in one and end in the
 * next: only whole records leave here.
 */
import { Decompress } from "fzstd";
import { u64At } from "./attr.js";
import { PerfDataError } from "./error.js";
import type { Feed, PlainFeed } from "./feed.js";
import { RECORD_HEADER_BYTES, USER_RECORD } from "./format.js";
import { ZstdFrames } from "./zstd-frames.js";

const LARGEST_RECORD_BYTES = 2 ** 16;
/** Of one compressed record, which holds at most what a ring held: more is an attack. */
const LARGEST_CONTENT_BYTES = 64 * 2 ** 20;

export class CompressedFeed implements Feed {
  readonly #feed: PlainFeed;
  readonly #raw = new Uint8Array(2 * LARGEST_RECORD_BYTES);
  readonly #view = new DataView(this.#raw.buffer);
  #at = 0;
  #end = 0;
  readonly #frames = new ZstdFrames();
  readonly #decompress = new Decompress((chunk) => this.#content(chunk));
  /** Decompressed, not yet given away; at its end, perhaps the first part of a record. */
  #content1 = new Uint8Array(4 * LARGEST_RECORD_BYTES);
  #contentAt = 0;
  #contentEnd = 0;
  #wholeEnd = 0;
  #produced = 0;

  /** `first` are bytes that have been read from `feed` already. */
  constructor(feed: PlainFeed, first: Uint8Array) {
    this.#feed = feed;
    this.#pending = first;
  }

  #pending: Uint8Array;

  get position(): number {
    return this.#feed.position - this.#pending.length - (this.#end - this.#at);
  }

  fill(into: Uint8Array, at: number, length: number): number {
    for (;;) {
      if (this.#contentAt < this.#wholeEnd) {
        const count = Math.min(length, this.#wholeEnd - this.#contentAt);
        into.set(this.#content1.subarray(this.#contentAt, this.#contentAt + count), at);
        this.#contentAt += count;
        return count;
      }
      if (!this.#hasRecord()) {
        if (this.#contentAt < this.#contentEnd) this.#fail("the compressed data end within a record");
        const rest = this.#end - this.#at;
        into.set(this.#raw.subarray(this.#at, this.#end), at);
        this.#at = this.#end;
        return rest;
      }
      const sizeBytes = this.#view.getUint16(this.#at + 6, true);
      const type = this.#view.getUint32(this.#at, true);
      if (type === USER_RECORD.COMPRESSED) this.#inflate(sizeBytes);
      else if (type === USER_RECORD.AUXTRACE && sizeBytes >= RECORD_HEADER_BYTES + 8) this.#passAuxtrace(sizeBytes);
      else {
        const count = Math.min(length, sizeBytes);
        // The window has room for a record; a shorter piece would be taken for its end.
        into.set(this.#raw.subarray(this.#at, this.#at + count), at);
        this.#at += count;
        return count;
      }
    }
  }

  /** A whole record at `#at`; false at the end of the file. */
  #hasRecord(): boolean {
    for (;;) {
      const left = this.#end - this.#at;
      if (left >= RECORD_HEADER_BYTES) {
        const sizeBytes = this.#view.getUint16(this.#at + 6, true);
        if (sizeBytes < RECORD_HEADER_BYTES) this.#fail(`a record of ${sizeBytes} bytes`);
        if (left >= sizeBytes) return true;
      }
      this.#raw.copyWithin(0, this.#at, this.#end);
      this.#at = 0;
      this.#end = left;
      const count = this.#read(this.#raw.length - left);
      if (count === 0) return false;
      this.#end += count;
    }
  }

  #read(room: number): number {
    if (this.#pending.length === 0) return this.#feed.fill(this.#raw, this.#end, room);
    const count = Math.min(room, this.#pending.length);
    this.#raw.set(this.#pending.subarray(0, count), this.#end);
    this.#pending = this.#pending.subarray(count);
    return count;
  }

  #inflate(sizeBytes: number): void {
    this.#content1.copyWithin(0, this.#contentAt, this.#contentEnd);
    this.#contentEnd -= this.#contentAt;
    this.#contentAt = 0;
    this.#produced = 0;
    // A copy: the decoder keeps what it cannot use yet.
    const data = this.#raw.slice(this.#at + RECORD_HEADER_BYTES, this.#at + sizeBytes);
    try {
      this.#frames.check(data);
      this.#decompress.push(data);
    } catch (error) {
      if (error instanceof PerfDataError) throw error;
      this.#fail(`the compressed data cannot be read: ${(error as Error).message}`);
    }
    this.#findWholeRecords();
    this.#at += sizeBytes;
  }

  #content(chunk: Uint8Array): void {
    this.#produced += chunk.length;
    if (this.#produced > LARGEST_CONTENT_BYTES) this.#fail(`a record holds more than ${LARGEST_CONTENT_BYTES} bytes`);
    if (this.#contentEnd + chunk.length > this.#content1.length) {
      const larger = new Uint8Array(2 * (this.#contentEnd + chunk.length));
      larger.set(this.#content1.subarray(0, this.#contentEnd));
      this.#content1 = larger;
    }
    this.#content1.set(chunk, this.#contentEnd);
    this.#contentEnd += chunk.length;
  }

  #findWholeRecords(): void {
    const content = this.#content1;
    let at = 0;
    while (at + RECORD_HEADER_BYTES <= this.#contentEnd) {
      const sizeBytes = content[at + 6]! | (content[at + 7]! << 8);
      if (sizeBytes < RECORD_HEADER_BYTES) this.#fail(`a record of ${sizeBytes} bytes in the compressed data`);
      const type = content[at]! | (content[at + 1]! << 8);
      // Bytes that follow a record outside of it, or compression within, cannot come from a ring.
      if (type === USER_RECORD.COMPRESSED) this.#fail("compressed data within compressed data");
      if (at + sizeBytes > this.#contentEnd) break;
      at += sizeBytes;
    }
    this.#wholeEnd = at;
  }

  #passAuxtrace(sizeBytes: number): void {
    let left = u64At(this.#view, this.#at + RECORD_HEADER_BYTES);
    this.#at += sizeBytes;
    for (;;) {
      const here = Math.min(left, this.#end - this.#at);
      this.#at += here;
      left -= here;
      if (left === 0 || this.#pending.length === 0) break;
      this.#at = 0;
      this.#end = 0;
      this.#end = this.#read(this.#raw.length);
    }
    if (left > 0) this.#feed.skip(left);
  }

  #fail(problem: string): never {
    throw new PerfDataError(problem, this.position);
  }
}
