/**
 * The output ports have no end of their own, so the lab writes a mark behind the last byte of each stream. This takes the mark
 * off again and tells when it came: only then has everything arrived.
 */

export class EndMarkFilter {
  /** The mark has been seen; nothing comes after it. */
  ended = false;
  readonly #mark: Buffer;
  /** The end of the last chunk that may be the beginning of the mark. */
  #held: Buffer = Buffer.alloc(0);

  constructor(mark: Buffer) {
    if (mark.length === 0) throw new RangeError("an end mark needs at least one byte");
    this.#mark = mark;
  }

  /** The bytes of the stream that are certain by now. */
  push(chunk: Uint8Array): Buffer {
    if (this.ended) return Buffer.alloc(0);
    const bytes =
      this.#held.length === 0
        ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
        : Buffer.concat([this.#held, chunk]);
    const at = bytes.indexOf(this.#mark);
    if (at >= 0) {
      this.ended = true;
      this.#held = Buffer.alloc(0);
      return bytes.subarray(0, at);
    }
    const heldBytes = this.#possibleBeginning(bytes);
    this.#held = Buffer.from(bytes.subarray(bytes.length - heldBytes));
    return bytes.subarray(0, bytes.length - heldBytes);
  }

  /** What was held back, for a stream that broke off without its mark. */
  flush(): Buffer {
    const held = this.#held;
    this.#held = Buffer.alloc(0);
    return held;
  }

  /** How many bytes at the end of `bytes` are the first ones of the mark. */
  #possibleBeginning(bytes: Buffer): number {
    for (let length = Math.min(this.#mark.length - 1, bytes.length); length > 0; length--) {
      if (bytes.subarray(bytes.length - length).equals(this.#mark.subarray(0, length))) return length;
    }
    return 0;
  }
}
