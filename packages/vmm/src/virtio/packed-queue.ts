/** A packed virtqueue from the device's side (virtio 1.2, section 2.8): one ring of descriptors that both sides write. */
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

/** Flags by which a descriptor says whose turn it is (section 2.8.1). */
const AVAIL = 1 << 7;
const USED = 1 << 15;
/** Indices of a descriptor's 16-bit words: its buffer id, its flags. */
const HALF = { ID: 6, FLAGS: 7, COUNT: 8 } as const;
/** An event suppression structure as 16-bit words: a position in the ring, and one of FLAGS (section 2.8.14). */
const EVENT = { POSITION: 0, FLAGS: 1, BYTES: 4 } as const;
const EVENT_FLAGS = { ENABLE: 0, DISABLE: 1, DESC: 2, MASK: 3 } as const;
/** A position is a slot, and in its top bit the wrap counter of that round (section 2.8.1). */
const WRAP = 0x8000;

interface PackedChain extends DescriptorChain {
  readonly slots: number;
}

export class PackedQueue implements Virtqueue {
  readonly #memory: QueueMemory;
  readonly #size: number;
  readonly #options: VirtqueueOptions;
  /** The ring, in two shapes of the same bytes. */
  readonly #ring: Uint32Array;
  readonly #ringHalves: Uint16Array;
  readonly #driver: Uint16Array;
  readonly #device: Uint16Array;
  /** Where the next chain is taken, and where the next one goes back. Both wrap counters begin at 1. */
  #taken = WRAP;
  #returned = WRAP;
  /** How far next() has come; what was put back lies before it. */
  #seen = WRAP;
  /** Slots given back since the driver was last asked whether it wants an interrupt. */
  #unannounced = 0;

  /** Throws VirtqueueFault when the ring is not where it could be. */
  constructor(memory: QueueMemory, { size, descriptors, driver, device }: VirtqueueLayout, options: VirtqueueOptions) {
    if (size < 1 || size > MOST_ENTRIES) throw new VirtqueueFault(`a queue of ${size} entries`);
    this.#memory = memory;
    this.#size = size;
    this.#options = options;
    const ring = ringBytes(memory, "descriptor ring", descriptors, DESCRIPTOR_BYTES * size, 16);
    this.#ring = words(ring);
    this.#ringHalves = halves(ring);
    this.#driver = halves(ringBytes(memory, "driver's event suppression", driver, EVENT.BYTES, 4));
    this.#device = halves(ringBytes(memory, "device's event suppression", device, EVENT.BYTES, 4));
  }

  get size(): number {
    return this.#size;
  }

  next(): PackedChain | undefined {
    this.#seen = this.#taken;
    if (!this.#isAvailable(this.#taken)) return undefined;
    const chain = this.#collect();
    this.#taken = this.#advance(this.#taken, chain.slots);
    this.#seen = this.#taken;
    return chain;
  }

  /** A chain lies in slots that follow one another; its last descriptor has its id (sections 2.8.6, 2.8.8). */
  #collect(): PackedChain {
    const chain = { readable: [] as Uint8Array[], writable: [] as Uint8Array[] };
    for (let slots = 0; ; ) {
      // So a ring whose every descriptor has a next one comes to an end, too.
      if (slots >= this.#size) throw new VirtqueueFault("a chain longer than its queue");
      const at = DESCRIPTOR_WORDS * slotOf(this.#advance(this.#taken, slots));
      const gpa = addressAt(this.#ring, at);
      const length = this.#ring[at + WORD.LEN]!;
      const idAndFlags = this.#ring[at + WORD.LAST]!;
      const flags = idAndFlags >>> 16;
      slots++;
      if ((flags & DESCRIPTOR.INDIRECT) !== 0) this.#indirect(chain, flags, gpa, length, slots - 1);
      else addBuffer(this.#memory, chain, gpa, length, (flags & DESCRIPTOR.WRITE) !== 0);
      if ((flags & DESCRIPTOR.NEXT) === 0) return { head: idAndFlags & 0xffff, ...chain, slots };
    }
  }

  /** In an indirect table every entry is a buffer, in their order; only its WRITE flag counts (section 2.8.7). */
  #indirect(chain: Collected, flags: number, gpa: number, length: number, before: number): void {
    const table = indirectTable(this.#memory, { isNegotiated: this.#options.indirect, flags }, gpa, length);
    const entries = table.length / DESCRIPTOR_WORDS;
    if (before + entries > this.#size) throw new VirtqueueFault("a chain longer than its queue");
    for (let at = 0; at < table.length; at += DESCRIPTOR_WORDS) {
      const entryFlags = table[at + WORD.LAST]! >>> 16;
      if ((entryFlags & DESCRIPTOR.INDIRECT) !== 0) throw new VirtqueueFault("an indirect table inside another");
      const isWritable = (entryFlags & DESCRIPTOR.WRITE) !== 0;
      addBuffer(this.#memory, chain, addressAt(table, at), table[at + WORD.LEN]!, isWritable);
    }
  }

  putBack(chains: readonly DescriptorChain[]): void {
    const slots = chains.reduce((sum, chain) => sum + (chain.slots ?? 1), 0);
    const slot = slotOf(this.#taken) - slots;
    this.#taken = slot >= 0 ? this.#taken - slots : (slot + this.#size) | (~this.#taken & WRAP);
  }

  complete({ head, slots = 1 }: DescriptorChain, writtenBytes: number): void {
    const slot = slotOf(this.#returned);
    this.#ringHalves[HALF.COUNT * slot + HALF.ID] = head;
    this.#ring[DESCRIPTOR_WORDS * slot + WORD.LEN] = writtenBytes;
    const round = (this.#returned & WRAP) !== 0 ? AVAIL | USED : 0;
    // After the rest, as the driver reads them (section 2.8.1). Only with WRITE does the length mean anything.
    const flags = round | (writtenBytes > 0 ? DESCRIPTOR.WRITE : 0);
    Atomics.store(this.#ringHalves, HALF.COUNT * slot + HALF.FLAGS, flags);
    this.#returned = this.#advance(this.#returned, slots);
    this.#unannounced += slots;
  }

  takesInterrupt(): boolean {
    const returned = this.#unannounced;
    if (returned === 0) return false;
    this.#unannounced = 0;
    const flags = Atomics.load(this.#driver, EVENT.FLAGS) & EVENT_FLAGS.MASK;
    if (flags !== EVENT_FLAGS.DESC || !this.#options.eventIdx) return flags !== EVENT_FLAGS.DISABLE;
    // Section 2.8.10: when the slot it names is among those just given back. Those of the round before lie below zero.
    const event = Atomics.load(this.#driver, EVENT.POSITION);
    const isThisRound = ((event ^ this.#returned) & WRAP) === 0;
    const slot = slotOf(event) - (isThisRound ? 0 : this.#size);
    return ((slotOf(this.#returned) - slot - 1) & 0xffff) < returned;
  }

  disableNotifications(): void {
    Atomics.store(this.#device, EVENT.FLAGS, EVENT_FLAGS.DISABLE);
  }

  enableNotifications(): boolean {
    if (this.#options.eventIdx) Atomics.store(this.#device, EVENT.POSITION, this.#seen);
    Atomics.store(this.#device, EVENT.FLAGS, this.#options.eventIdx ? EVENT_FLAGS.DESC : EVENT_FLAGS.ENABLE);
    return this.#isAvailable(this.#seen);
  }

  /** Available is a descriptor whose AVAIL flag is this round's wrap counter and whose USED flag is not (section 2.8.1). */
  #isAvailable(position: number): boolean {
    const flags = Atomics.load(this.#ringHalves, HALF.COUNT * slotOf(position) + HALF.FLAGS);
    const isAvail = (flags & AVAIL) !== 0;
    const isUsed = (flags & USED) !== 0;
    return isAvail !== isUsed && isAvail === ((position & WRAP) !== 0);
  }

  #advance(position: number, slots: number): number {
    const slot = slotOf(position) + slots;
    return slot < this.#size ? position + slots : (slot - this.#size) | (~position & WRAP);
  }
}

function slotOf(position: number): number {
  return position & ~WRAP;
}
