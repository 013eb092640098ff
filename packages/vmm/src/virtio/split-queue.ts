/** A split virtqueue from the device's side (virtio 1.2, section 2.7). */
import {
  addBuffer,
  addressAt,
  type Collected,
  DESCRIPTOR,
  DESCRIPTOR_BYTES,
  DESCRIPTOR_WORDS,
  halves,
  indirectTable,
  ringBytes,
  WORD,
  words,
} from "./descriptors.js";
import {
  type DescriptorChain,
  MOST_ENTRIES,
  type QueueMemory,
  type Virtqueue,
  VirtqueueFault,
  type VirtqueueLayout,
  type VirtqueueOptions,
} from "./virtqueue.js";

/** Indices into the available and used rings as 16-bit numbers (sections 2.7.6 and 2.7.8). */
const FLAGS = 0;
const IDX = 1;
const RING = 2;
const USED_ELEMENT_WORDS = 2;
/** Where the used ring's elements begin, in 32-bit words. */
const USED_RING_WORD = 1;
const NO_INTERRUPT = 1;
const NO_NOTIFY = 1;

export class SplitQueue implements Virtqueue {
  readonly #memory: QueueMemory;
  readonly #size: number;
  readonly #options: VirtqueueOptions;
  readonly #descriptors: Uint32Array;
  readonly #available: Uint16Array;
  readonly #used: Uint16Array;
  readonly #usedElements: Uint32Array;
  /** The next entry of the available ring to take, and of the used ring to fill: they count on past the size. */
  #taken = 0;
  #returned = 0;
  /** How far the driver had come when next() last looked; what was put back lies before it. */
  #seen = 0;
  /** `#returned` when the driver was last asked whether it wants an interrupt. */
  #announced = 0;

  /** Throws VirtqueueFault when the rings are not where they could be. */
  constructor(memory: QueueMemory, { size, descriptors, driver, device }: VirtqueueLayout, options: VirtqueueOptions) {
    if (size < 1 || size > MOST_ENTRIES || (size & (size - 1)) !== 0)
      throw new VirtqueueFault(`a queue of ${size} entries`);
    this.#memory = memory;
    this.#size = size;
    this.#options = options;
    const table = ringBytes(memory, "descriptor table", descriptors, DESCRIPTOR_BYTES * size, 16);
    this.#descriptors = words(table);
    this.#available = halves(ringBytes(memory, "available ring", driver, 6 + 2 * size, 2));
    const used = ringBytes(memory, "used ring", device, 6 + 8 * size, 4);
    this.#used = halves(used);
    this.#usedElements = new Uint32Array(used.buffer, used.byteOffset, USED_RING_WORD + USED_ELEMENT_WORDS * size);
  }

  get size(): number {
    return this.#size;
  }

  /** The next chain that the driver has made available, or undefined. */
  next(): DescriptorChain | undefined {
    this.#seen = Atomics.load(this.#available, IDX);
    const pending = (this.#seen - this.#taken) & 0xffff;
    if (pending === 0) return undefined;
    if (pending > this.#size) throw new VirtqueueFault(`${pending} entries are available in a ring of ${this.#size}`);
    const head = this.#available[RING + (this.#taken & (this.#size - 1))]!;
    this.#taken = (this.#taken + 1) & 0xffff;
    return this.#chain(head);
  }

  putBack(chains: readonly DescriptorChain[]): void {
    this.#taken = (this.#taken - chains.length) & 0xffff;
  }

  /** Gives a chain back, of whose writable buffers the first `writtenBytes` were written. */
  complete({ head }: DescriptorChain, writtenBytes: number): void {
    const element = USED_RING_WORD + USED_ELEMENT_WORDS * (this.#returned & (this.#size - 1));
    this.#usedElements[element] = head;
    this.#usedElements[element + 1] = writtenBytes;
    this.#returned = (this.#returned + 1) & 0xffff;
    // After the element, as the driver reads them (section 2.7.14).
    Atomics.store(this.#used, IDX, this.#returned);
  }

  /** Whether the driver wants an interrupt for what was completed since this was last asked (sections 2.7.7, 2.7.10). */
  takesInterrupt(): boolean {
    const [from, to] = [this.#announced, this.#returned];
    if (from === to) return false;
    this.#announced = to;
    if (!this.#options.eventIdx) return (Atomics.load(this.#available, FLAGS) & NO_INTERRUPT) === 0;
    const event = Atomics.load(this.#available, RING + this.#size);
    return ((to - event - 1) & 0xffff) < ((to - from) & 0xffff);
  }

  /** Asks the driver not to notify while the device looks anyway. */
  disableNotifications(): void {
    if (!this.#options.eventIdx) Atomics.store(this.#used, FLAGS, NO_NOTIFY);
  }

  /** Asks for a notification of what is made available next. True when more has come meanwhile: look again, nobody will notify. */
  enableNotifications(): boolean {
    if (this.#options.eventIdx) Atomics.store(this.#used, RING + 4 * this.#size, this.#seen);
    else Atomics.store(this.#used, FLAGS, 0);
    return Atomics.load(this.#available, IDX) !== this.#seen;
  }

  #chain(head: number): DescriptorChain {
    const chain = { head, readable: [] as Uint8Array[], writable: [] as Uint8Array[] };
    if (head >= this.#size) throw new VirtqueueFault(`descriptor ${head} of a table of ${this.#size}`);
    this.#walk(chain, this.#descriptors, head, 0);
    return chain;
  }

  /** Follows a chain from `index` on in the queue's table, or in an indirect one, after `before` descriptors (section 2.7.5.3). */
  #walk(chain: Collected, table: Uint32Array, index: number, before: number): void {
    const entries = table.length / DESCRIPTOR_WORDS;
    // No chain is longer than the queue (section 2.7.5.3.1), so a loop ends here, too.
    for (let walked = before; ; walked++) {
      if (walked >= this.#size) throw new VirtqueueFault("a chain longer than its queue");
      const at = DESCRIPTOR_WORDS * index;
      const gpa = addressAt(table, at);
      const length = table[at + WORD.LEN]!;
      const flagsAndNext = table[at + WORD.LAST]!;
      const flags = flagsAndNext & 0xffff;
      if ((flags & DESCRIPTOR.INDIRECT) !== 0) {
        if (table !== this.#descriptors) throw new VirtqueueFault("an indirect table inside another");
        const isNegotiated = this.#options.indirect;
        // It may stand behind buffers, as the last of its chain (section 2.7.5.3.2).
        this.#walk(chain, indirectTable(this.#memory, { isNegotiated, flags }, gpa, length), 0, walked);
        return;
      }
      addBuffer(this.#memory, chain, gpa, length, (flags & DESCRIPTOR.WRITE) !== 0);
      if ((flags & DESCRIPTOR.NEXT) === 0) return;
      index = flagsAndNext >>> 16;
      if (index >= entries) throw new VirtqueueFault(`descriptor ${index} of a table of ${entries}`);
    }
  }
}
