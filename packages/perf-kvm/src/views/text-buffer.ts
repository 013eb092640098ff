/** Text under construction, as bytes: numbers are written digit by digit, and no string is made on the way. */

const ZERO = 48;
const HEX = Uint8Array.from("0123456789abcdef", (digit) => digit.charCodeAt(0));
/** Room that is left for one more line, and for one more piece of it. */
const LARGEST_LINE_BYTES = 64 * 1024;
const LARGEST_PIECE_BYTES = 8 * 1024;

export class TextBuffer {
  readonly bytes: Uint8Array;
  length = 0;

  constructor(sizeBytes = 2 ** 20) {
    this.bytes = new Uint8Array(sizeBytes + LARGEST_LINE_BYTES);
  }

  /** It has to be emptied before the next line. */
  get isFull(): boolean {
    return this.length > this.bytes.length - LARGEST_LINE_BYTES;
  }

  /** False when a line has grown too long. */
  get hasRoom(): boolean {
    return this.length < this.bytes.length - LARGEST_PIECE_BYTES;
  }

  take(): Uint8Array {
    const taken = this.bytes.subarray(0, this.length);
    this.length = 0;
    return taken;
  }

  byte(value: number): void {
    this.bytes[this.length++] = value;
  }

  /** A short piece: for these a loop is quicker than a call of the runtime. */
  piece(piece: Uint8Array): void {
    const { bytes } = this;
    let at = this.length;
    for (let i = 0; i < piece.length; i++) bytes[at++] = piece[i]!;
    this.length = at;
  }

  /** A whole number from 0 to 2^53, in decimal. */
  decimal(value: number): void {
    const { bytes } = this;
    let digits = 1;
    for (let power = 10; power <= value; power *= 10) digits++;
    let at = this.length + digits;
    this.length = at;
    let left = value;
    // Beyond 32 bits a division is one of doubles.
    while (left > 0xffff_ffff) {
      const rest = Math.floor(left / 10);
      bytes[--at] = ZERO + (left - rest * 10);
      left = rest;
      digits--;
    }
    for (let low = left >>> 0; digits > 0; digits--) {
      const rest = (low / 10) >>> 0;
      bytes[--at] = ZERO + (low - rest * 10);
      low = rest;
    }
  }

  /** So many digits, with zeros in front. */
  padded(value: number, digits: number): void {
    const { bytes } = this;
    let at = this.length + digits;
    this.length = at;
    for (let low = value >>> 0, left = digits; left > 0; left--) {
      const rest = (low / 10) >>> 0;
      bytes[--at] = ZERO + (low - rest * 10);
      low = rest;
    }
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
    const { bytes } = this;
    let at = this.length;
    for (let shift = 4 * (digits - 1); shift >= 0; shift -= 4) bytes[at++] = HEX[(value >>> shift) & 15]!;
    this.length = at;
  }
}
