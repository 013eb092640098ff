/** Machine code, written byte by byte: a bench's guests are too small for an assembler. */
export class Code {
  readonly #origin: number;
  readonly #bytes: number[] = [];

  /** `origin` is the address of the first byte. */
  constructor(origin: number) {
    this.#origin = origin;
  }

  /** The address of the next byte. */
  get here(): number {
    return this.#origin + this.#bytes.length;
  }

  emit(...bytes: number[]): this {
    this.#bytes.push(...bytes);
    return this;
  }

  word(value: number): this {
    return this.emit(value & 0xff, (value >>> 8) & 0xff);
  }

  dword(value: number): this {
    return this.word(value).word(value >>> 16);
  }

  /** mov dword [address], value */
  storeDword(address: number, value: number): this {
    return this.emit(0xc7, 0x05).dword(address).dword(value);
  }

  /** jnz rel8 */
  jumpIfNotZero(target: number): this {
    return this.emit(0x75, (target - (this.here + 2)) & 0xff);
  }

  /** jmp rel32 */
  jump(target: number): this {
    return this.emit(0xe9).dword(target - (this.here + 4));
  }

  /** Zeroes up to `address`. */
  skipTo(address: number): this {
    while (this.here < address) this.emit(0);
    return this;
  }

  bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}
