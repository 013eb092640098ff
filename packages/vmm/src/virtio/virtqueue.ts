/**
 * A split virtqueue from the device's side (virtio 1.2, section 2.7). The driver's rings lie in guest memory, which the
 * guest may change at any moment and to anything: every number is read once, checked, and then used. A fault of the
 * driver's throws VirtqueueFault; the transport then says DEVICE_NEEDS_RESET.
 */

/** Guest RAM as queues see it. */
export interface QueueMemory {
  /** Adds views of the guest's `length` bytes at `gpa` to `views`. False when they are not all RAM. */
  views(gpa: number, length: number, views: Uint8Array[]): boolean;
}

export interface VirtqueueLayout {
  /** Entries, a power of two up to 32768. */
  readonly size: number;
  /** Guest-physical addresses of descriptor table, available ring (driver area) and used ring (device area). */
  readonly descriptors: number;
  readonly driver: number;
  readonly device: number;
}

export interface VirtqueueOptions {
  readonly indirect: boolean;
  readonly eventIdx: boolean;
}

/** What the driver has done against the specification. One line. */
export class VirtqueueFault extends Error {
  override readonly name = "VirtqueueFault";
}

/** Descriptor flags (section 2.7.5). */
const DESCRIPTOR = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;
const DESCRIPTOR_BYTES = 16;
const DESCRIPTOR_WORDS = DESCRIPTOR_BYTES / 4;
/** Offsets in words of a descriptor. */
const ADDR_LOW = 0;
const ADDR_HIGH = 1;
const LEN = 2;
const FLAGS_NEXT = 3;

/** Indices into the available and used rings as 16-bit numbers (sections 2.7.6 and 2.7.8). */
const FLAGS = 0;
const IDX = 1;
const RING = 2;
const USED_ELEMENT_WORDS = 2;
/** Where the used ring's elements begin, in 32-bit words. */
const USED_RING_WORD = 1;
const NO_INTERRUPT = 1;
const NO_NOTIFY = 1;
/** The bits of addresses that a JavaScript number can hold exactly; RAM lies far below. */
const MOST_ADDR_HIGH = 2 ** 21;

/** Buffers that the driver has chained: first those that the device reads, then those that it writes. */
export interface DescriptorChain {
  readonly head: number;
  readonly readable: readonly Uint8Array[];
  readonly writable: readonly Uint8Array[];
}

export class Virtqueue {
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
    if (size < 1 || size > 32768 || (size & (size - 1)) !== 0) throw new VirtqueueFault(`a queue of ${size} entries`);
    this.#memory = memory;
    this.#size = size;
    this.#options = options;
    const table = ringBytes(memory, "descriptor table", descriptors, DESCRIPTOR_BYTES * size, 16);
    this.#descriptors = words(table);
    const available = ringBytes(memory, "available ring", driver, 6 + 2 * size, 2);
    this.#available = new Uint16Array(available.buffer, available.byteOffset, available.length / 2);
    const used = ringBytes(memory, "used ring", device, 6 + 8 * size, 4);
    this.#used = new Uint16Array(used.buffer, used.byteOffset, used.length / 2);
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

  /** Undoes the last `count` calls of next(): those chains come again. */
  putBack(count: number): void {
    this.#taken = (this.#taken - count) & 0xffff;
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
    this.#walk(chain, this.#descriptors, head, false);
    return chain;
  }

  /** Follows a chain from `index` on in the queue's table, or in an indirect one (section 2.7.5.3). */
  #walk(chain: Collected, table: Uint32Array, index: number, isIndirect: boolean): void {
    const entries = table.length / DESCRIPTOR_WORDS;
    // No chain is longer than the queue (section 2.7.5.3.1), so a loop ends here, too.
    for (let walked = 0; ; walked++) {
      if (walked >= Math.min(entries, this.#size)) throw new VirtqueueFault("a chain longer than its queue");
      const at = DESCRIPTOR_WORDS * index;
      const gpa = address(table[at + ADDR_LOW]!, table[at + ADDR_HIGH]!);
      const length = table[at + LEN]!;
      const flagsAndNext = table[at + FLAGS_NEXT]!;
      const flags = flagsAndNext & 0xffff;
      if ((flags & DESCRIPTOR.INDIRECT) !== 0) {
        if (isIndirect || walked > 0) throw new VirtqueueFault("an indirect table inside a chain");
        this.#indirect(chain, gpa, length, flags);
        return;
      }
      this.#add(chain, gpa, length, (flags & DESCRIPTOR.WRITE) !== 0);
      if ((flags & DESCRIPTOR.NEXT) === 0) return;
      index = flagsAndNext >>> 16;
      if (index >= entries) throw new VirtqueueFault(`descriptor ${index} of a table of ${entries}`);
    }
  }

  #indirect(chain: Collected, gpa: number, length: number, flags: number): void {
    if (!this.#options.indirect) throw new VirtqueueFault("an indirect descriptor, which was not negotiated");
    if ((flags & DESCRIPTOR.NEXT) !== 0) throw new VirtqueueFault("an indirect descriptor with a next one");
    if (length === 0 || length % DESCRIPTOR_BYTES !== 0)
      throw new VirtqueueFault(`an indirect table of ${length} bytes`);
    const views: Uint8Array[] = [];
    if (!this.#memory.views(gpa, length, views)) throw outside("an indirect table", gpa, length);
    this.#walk(chain, words(joined(views)), 0, true);
  }

  #add(chain: Collected, gpa: number, length: number, isWritable: boolean): void {
    if (!isWritable && chain.writable.length > 0) throw new VirtqueueFault("a readable buffer after a writable one");
    if (length === 0) return;
    if (!this.#memory.views(gpa, length, isWritable ? chain.writable : chain.readable))
      throw outside("a buffer", gpa, length);
  }
}

interface Collected {
  readonly readable: Uint8Array[];
  readonly writable: Uint8Array[];
}

/** NaN, which is no address, for what a number cannot hold. */
function address(low: number, high: number): number {
  return high < MOST_ADDR_HIGH ? high * 2 ** 32 + low : Number.NaN;
}

function outside(what: string, gpa: number, length: number): VirtqueueFault {
  return new VirtqueueFault(`${what} of ${length} bytes at 0x${gpa.toString(16)}, which is not RAM`);
}

/** A ring in place: the device and the driver look at the same bytes, so it has to be in one piece. */
function ringBytes(memory: QueueMemory, what: string, gpa: number, length: number, alignBytes: number): Uint8Array {
  if (gpa % alignBytes !== 0)
    throw new VirtqueueFault(`the ${what} is at 0x${gpa.toString(16)}, not at a multiple of ${alignBytes}`);
  const views: Uint8Array[] = [];
  if (!memory.views(gpa, length, views) || views.length !== 1) throw outside(`the ${what}`, gpa, length);
  return views[0]!;
}

/** As 32-bit words; a copy where the bytes are not aligned to them. */
function words(bytes: Uint8Array): Uint32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
}

function joined(views: readonly Uint8Array[]): Uint8Array {
  return views.length === 1 ? views[0]! : new Uint8Array(Buffer.concat(views));
}
