import { ascii, concat, StructBytes } from "../bytes.js";

/** A structure as a table has it (SMBIOS 3.6, section 6.1): its fields, and the strings that they name by number, from 1 on. */
export class SmbiosStructure {
  readonly #fields: StructBytes;
  readonly #strings: string[] = [];

  /** `handle` is how other structures refer to it; `sizeBytes` counts no strings. */
  constructor(type: number, handle: number, sizeBytes: number) {
    this.#fields = new StructBytes(sizeBytes).u8(0, type).u8(1, sizeBytes).u16(2, handle);
  }

  u8(offset: number, value: number): this {
    this.#fields.u8(offset, value);
    return this;
  }

  u16(offset: number, value: number): this {
    this.#fields.u16(offset, value);
    return this;
  }

  u32(offset: number, value: number): this {
    this.#fields.u32(offset, value);
    return this;
  }

  u64(offset: number, value: number): this {
    this.#fields.u64(offset, value);
    return this;
  }

  /** A field that names `text`, which is ASCII and not empty. */
  string(offset: number, text: string): this {
    this.#strings.push(text);
    return this.u8(offset, this.#strings.length);
  }

  /** The fields, and behind them the strings, each with its end, and one more. */
  get bytes(): Uint8Array {
    const strings = this.#strings.length === 0 ? "\0\0" : `${this.#strings.join("\0")}\0\0`;
    return concat([this.#fields.bytes, ascii(strings)]);
  }
}
