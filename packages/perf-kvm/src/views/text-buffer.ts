/**
 * Text under construction, as bytes: no string is made on the way. Numbers go two digits at a time and pieces four bytes
 * at a time, which is half of what a line costs.
 */

const ZERO = 48;
const DECIMAL_PAIRS = pairs(100, (value) => String(value).padStart(2, "0"));
const HEX_PAIRS = pairs(256, (value) => value.toString(16).padStart(2, "0"));
/** Room that is left for one more line, and for one more piece of it. */
const LARGEST_LINE_BYTES = 64 * 1024;
const LARGEST_PIECE_BYTES = 8 * 1024;
const BEYOND_32_BITS = 2 ** 32;

/** A text that is written often, ready to be copied. */
export interface Piece {
  readonly words: Uint32Array;
  readonly length: number;
}

/** `text` is Latin-1. */
export function piece(text: string): Piece {
  const bytes = new Uint8Array(Math.ceil(text.length / 4) * 4);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return { words: new Uint32Array(bytes.buffer), length: text.length };
}

/** Two letters each, in the order in which a little-endian store puts them. */
function pairs(count: number, text: (value: number) => string): Uint16Array {
  return Uint16Array.from({ length: count }, (_, value) => text(value).charCodeAt(0) + text(value).charCodeAt(1) * 256);
}

export class TextBuffer {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  length = 0;

  constructor(sizeBytes = 2 ** 20) {
    this.#bytes = new Uint8Array(sizeBytes + LARGEST_LINE_BYTES);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** It has to be emptied before the next line. */
  get isFull(): boolean {
    return this.length > this.#bytes.length - LARGEST_LINE_BYTES;
  }

  /** False when a line has grown too long. */
  get hasRoom(): boolean {
    return this.length < this.#bytes.length - LARGEST_PIECE_BYTES;
  }

  /** What has been written; it is overwritten by what comes next. */
  take(): Uint8Array {
    const taken = this.#bytes.subarray(0, this.length);
    this.length = 0;
    return taken;
  }

  byte(value: number): void {
    this.#bytes[this.length++] = value;
  }

  /** The last word may reach beyond the piece: what comes next is written over it. */
  piece({ words, length }: Piece): void {
    const view = this.#view;
    const start = this.length;
    for (let i = 0; i < words.length; i++) view.setUint32(start + 4 * i, words[i]!, true);
    this.length = start + length;
  }

  /** A whole number from 0 to 2^53, in decimal. */
  decimal(value: number): void {
    if (value < 10) {
      this.#bytes[this.length++] = ZERO + value;
      return;
    }
    if (value >= BEYOND_32_BITS) {
      const high = Math.floor(value / 1e8);
      this.decimal(high);
      this.padded(value - high * 1e8, 8);
      return;
    }
    let digits = 2;
    for (let power = 100; power <= value; power *= 10) digits++;
    this.padded(value, digits);
  }

  /** So many digits of a number below 2^32, with zeros in front. */
  padded(value: number, digits: number): void {
    const view = this.#view;
    let at = this.length + digits;
    const start = this.length;
    this.length = at;
    let left = value >>> 0;
    while (at - start >= 2) {
      const rest = (left / 100) >>> 0;
      at -= 2;
      view.setUint16(at, DECIMAL_PAIRS[left - rest * 100]!, true);
      left = rest;
    }
    if (at > start) this.#bytes[start] = ZERO + (left % 10);
  }

  /** 64 bits in hexadecimal, without zeros in front. */
  hex(low: number, high: number): void {
    if (high === 0) {
      this.#hexDigits(low, low === 0 ? 1 : 8 - (Math.clz32(low) >>> 2));
      return;
    }
    this.#hexDigits(high, 8 - (Math.clz32(high) >>> 2));
    this.#hexDigits(low, 8);
  }

  #hexDigits(value: number, digits: number): void {
    const view = this.#view;
    const start = this.length;
    let at = start + digits;
    this.length = at;
    let left = value;
    while (at - start >= 2) {
      at -= 2;
      view.setUint16(at, HEX_PAIRS[left & 0xff]!, true);
      left >>>= 8;
    }
    // The first of an odd number of digits: the second letter of its pair.
    if (at > start) this.#bytes[start] = HEX_PAIRS[left & 15]! >>> 8;
  }
}
