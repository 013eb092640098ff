/** Protocol Buffers' wire format, as far as pprof needs it (protobuf.dev, "Encoding"): varints and what has a length. */

const VARINT = 0;
const LEN = 2;

export class ProtobufWriter {
  readonly #bytes: number[] = [];

  /** A field that is a varint; 0 is the default and left out. `value` is a whole number from 0 to 2^53. */
  varint(field: number, value: number): this {
    if (value === 0) return this;
    this.#varint(field * 8 + VARINT);
    this.#varint(value);
    return this;
  }

  /** Repeated varints in one field ("packed"). */
  packed(field: number, values: readonly number[]): this {
    const content = new ProtobufWriter();
    for (const value of values) content.#varint(value);
    return this.message(field, content);
  }

  string(field: number, text: string): this {
    return this.#sized(field, Buffer.from(text, "utf8"));
  }

  message(field: number, message: ProtobufWriter): this {
    return this.#sized(field, message.#bytes);
  }

  finish(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  #sized(field: number, content: ArrayLike<number>): this {
    this.#varint(field * 8 + LEN);
    this.#varint(content.length);
    for (let i = 0; i < content.length; i++) this.#bytes.push(content[i]!);
    return this;
  }

  #varint(value: number): void {
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) this.#bytes.push((rest % 0x80) + 0x80);
    this.#bytes.push(rest);
  }
}
