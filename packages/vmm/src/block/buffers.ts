/** Lists of buffers as one run of bytes: what a request's descriptors make of guest memory. */

/** Bytes in all buffers together. */
export function totalBytes(buffers: readonly Uint8Array[]): number {
  let total = 0;
  for (const buffer of buffers) total += buffer.length;
  return total;
}

/** Walks along a list of buffers, handing out the next bytes as views: nothing is copied. */
export class BufferCursor {
  readonly #buffers: readonly Uint8Array[];
  #index = 0;
  #within = 0;

  constructor(buffers: readonly Uint8Array[]) {
    this.#buffers = buffers;
  }

  /** Views of the next `length` bytes; of what is left, when that is less. */
  take(length: number): Uint8Array[] {
    const views: Uint8Array[] = [];
    while (length > 0 && this.#index < this.#buffers.length) {
      const buffer = this.#buffers[this.#index]!;
      const end = Math.min(buffer.length, this.#within + length);
      if (end > this.#within) views.push(buffer.subarray(this.#within, end));
      length -= end - this.#within;
      this.#within = end;
      if (end === buffer.length) {
        this.#index++;
        this.#within = 0;
      }
    }
    return views;
  }
}

/** Copies `bytes` over the buffers, from the first on; as many as there are of both. */
export function scatter(bytes: Uint8Array, into: readonly Uint8Array[]): void {
  let at = 0;
  for (const buffer of into) {
    const part = bytes.subarray(at, at + buffer.length);
    buffer.set(part);
    at += part.length;
  }
}

/** Copies the buffers together into `into`, which has room for them. */
export function gather(from: readonly Uint8Array[], into: Uint8Array): void {
  let at = 0;
  for (const buffer of from) {
    into.set(buffer, at);
    at += buffer.length;
  }
}

const ZEROS = new Uint8Array(2 ** 20);

/** Buffers of `length` zero bytes together, all views of the same memory: to be read only. */
export function zeros(length: number): Uint8Array[] {
  const views: Uint8Array[] = [];
  for (; length > ZEROS.length; length -= ZEROS.length) views.push(ZEROS);
  if (length > 0) views.push(ZEROS.subarray(0, length));
  return views;
}
