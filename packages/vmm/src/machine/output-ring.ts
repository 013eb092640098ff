/**
 * A ring of bytes in shared memory, from the vCPU Workers (one at a time: the writer holds its device's lock) to the
 * main thread. When it is full the writer is told so; nothing is dropped.
 */
export const RING_HEADER_BYTES = 64;

const HEAD = 0; // next byte to read; only the reader writes it
const TAIL = 1; // next byte to write; only the writer writes it
const REFUSED = 2; // the writer found the ring full and waits for room
const ASLEEP = 3; // the reader has seen everything and wants to be woken

export class OutputRing {
  readonly #words: Int32Array;
  readonly #data: Uint8Array;
  readonly #mask: number;

  /** `sizeBytes` is the data's size, a power of two; the ring takes RING_HEADER_BYTES more. */
  constructor(buffer: SharedArrayBuffer, byteOffset: number, sizeBytes: number) {
    if ((sizeBytes & (sizeBytes - 1)) !== 0) throw new RangeError(`a ring of ${sizeBytes} bytes is no power of two`);
    this.#words = new Int32Array(buffer, byteOffset, RING_HEADER_BYTES / 4);
    this.#data = new Uint8Array(buffer, byteOffset + RING_HEADER_BYTES, sizeBytes);
    this.#mask = sizeBytes - 1;
  }

  /** Writer: true when a byte fits. When not, the reader is asked to say when there is room. */
  ready(): boolean {
    if (this.#hasRoom()) return true;
    Atomics.store(this.#words, REFUSED, 1);
    // The reader may have made room between the look and the store, and then would never tell us.
    if (!this.#hasRoom()) return false;
    Atomics.store(this.#words, REFUSED, 0);
    return true;
  }

  #hasRoom(): boolean {
    return (Atomics.load(this.#words, TAIL) - Atomics.load(this.#words, HEAD)) >>> 0 <= this.#mask;
  }

  /** Writer: appends a byte; false when the ring is full. */
  push(byte: number): boolean {
    const tail = Atomics.load(this.#words, TAIL);
    if (!this.ready()) return false;
    this.#data[tail & this.#mask] = byte;
    Atomics.store(this.#words, TAIL, (tail + 1) | 0);
    return true;
  }

  /** Writer: true when the reader sleeps and this call is the one that has to wake it. */
  mustWake(): boolean {
    return Atomics.load(this.#words, ASLEEP) === 1 && Atomics.compareExchange(this.#words, ASLEEP, 1, 0) === 1;
  }

  /** Reader: everything there is, as a copy; undefined when there is nothing, and then the reader counts as asleep. */
  take(): Uint8Array | undefined {
    const head = Atomics.load(this.#words, HEAD);
    let tail = Atomics.load(this.#words, TAIL);
    if (head === tail) {
      Atomics.store(this.#words, ASLEEP, 1);
      // A byte may have come between the look and the store; then nobody would wake us.
      tail = Atomics.load(this.#words, TAIL);
      if (head === tail) return undefined;
      Atomics.store(this.#words, ASLEEP, 0);
    }
    const length = (tail - head) >>> 0;
    const bytes = new Uint8Array(length);
    const start = head & this.#mask;
    const first = Math.min(length, this.#mask + 1 - start);
    bytes.set(this.#data.subarray(start, start + first));
    bytes.set(this.#data.subarray(0, length - first), first);
    Atomics.store(this.#words, HEAD, tail);
    return bytes;
  }

  /** Reader: true once after the writer had been refused. */
  takeRefused(): boolean {
    return Atomics.exchange(this.#words, REFUSED, 0) === 1;
  }
}
