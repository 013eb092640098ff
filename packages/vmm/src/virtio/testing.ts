/** What the tests of virtio share: guest memory, the driver's side of a split virtqueue, and a disk in memory. Not exported. */
import type { DiskImage } from "../block/disk-image.js";
import { checkRange } from "../block/errors.js";
import type { VirtioBackend, VirtioDevice } from "./device.js";
import { FEATURE, STATUS } from "./ids.js";
import { DeviceServer } from "./server.js";
import { type DriverRegisters, registersOf, type TransportName } from "./testing-registers.js";
import { featureWords, type TransportState } from "./transport.js";
import type { QueueMemory } from "./virtqueue.js";

/** RAM from 0 on, with bytes before and behind it that nobody may touch. */
export class TestMemory implements QueueMemory {
  static readonly GUARD_BYTES = 4096;
  readonly #all: Uint8Array;
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(readonly sizeBytes: number) {
    const buffer = new SharedArrayBuffer(sizeBytes + 2 * TestMemory.GUARD_BYTES);
    this.#all = new Uint8Array(buffer).fill(0xa5);
    this.bytes = new Uint8Array(buffer, TestMemory.GUARD_BYTES, sizeBytes).fill(0);
    this.view = new DataView(buffer, TestMemory.GUARD_BYTES, sizeBytes);
  }

  views(gpa: number, length: number, views: Uint8Array[]): boolean {
    if (!(gpa >= 0 && gpa + length <= this.sizeBytes)) return false;
    views.push(this.bytes.subarray(gpa, gpa + length));
    return true;
  }

  get isGuardIntact(): boolean {
    const { GUARD_BYTES } = TestMemory;
    const untouched = (from: number) => this.#all.subarray(from, from + GUARD_BYTES).every((byte) => byte === 0xa5);
    return untouched(0) && untouched(GUARD_BYTES + this.sizeBytes);
  }
}

export interface TestBuffer {
  readonly gpa: number;
  readonly length: number;
  readonly writable: boolean;
}

export const DESC = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;

/** The driver's side of a queue, whatever its format. */
export interface TestDriver {
  readonly size: number;
  /** Where the areas are: descriptors, driver, device. */
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
  /** Entries that are not in use. */
  readonly room: number;
  /** Writes a chain and makes it available. Returns what names it when it comes back. */
  offer(buffers: readonly TestBuffer[], indirectTable?: number): number;
  /** What came back since the last call; `written` as far as the ring says it. */
  collect(): { head: number; written: number }[];
  /** Whether the device wants to be told of what the last offer() made available. */
  mustNotify(eventIdx: boolean): boolean;
  /** Asks to be interrupted by the next chain that comes back. Call collect() afterwards: one may have come before. */
  sleep(eventIdx: boolean): void;
}

const passes = (event: number, to: number, from: number) => ((to - event - 1) & 0xffff) < ((to - from) & 0xffff);

/** The driver's side of a split queue. Descriptors are taken round the table; the test sees to it that no more are in use than there are. */
export class TestDriverQueue implements TestDriver {
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
  #nextDescriptor = 0;
  #availableIdx = 0;
  #seenUsed = 0;
  #inUse = 0;
  readonly #taken = new Map<number, number>();

  constructor(
    readonly memory: TestMemory,
    readonly size: number,
    base: number,
  ) {
    this.descriptors = base;
    this.available = base + 16 * size;
    this.used = Math.ceil((this.available + 6 + 2 * size) / 4) * 4;
  }

  /** The first byte behind the rings. */
  get end(): number {
    return this.used + 6 + 8 * this.size;
  }
  get room(): number {
    return this.size - this.#inUse;
  }

  descriptor(table: number, index: number, { gpa, length, writable }: TestBuffer, next: number | undefined): void {
    const { view } = this.memory;
    const at = table + 16 * index;
    view.setBigUint64(at, BigInt(gpa), true);
    view.setUint32(at + 8, length, true);
    view.setUint16(at + 12, (next === undefined ? 0 : DESC.NEXT) | (writable ? DESC.WRITE : 0), true);
    view.setUint16(at + 14, next ?? 0, true);
  }

  /** Writes a chain and makes it available. Returns its head. */
  offer(buffers: readonly TestBuffer[], indirectTable?: number): number {
    const head = this.#nextDescriptor;
    if (indirectTable !== undefined) {
      buffers.forEach((buffer, i) => {
        this.descriptor(indirectTable, i, buffer, i + 1 < buffers.length ? i + 1 : undefined);
      });
      this.descriptor(
        this.descriptors,
        head,
        { gpa: indirectTable, length: 16 * buffers.length, writable: false },
        undefined,
      );
      this.memory.view.setUint16(this.descriptors + 16 * head + 12, DESC.INDIRECT, true);
      this.#nextDescriptor = (head + 1) % this.size;
    } else {
      buffers.forEach((buffer, i) => {
        const next = i + 1 < buffers.length ? (head + i + 1) % this.size : undefined;
        this.descriptor(this.descriptors, (head + i) % this.size, buffer, next);
      });
      this.#nextDescriptor = (head + buffers.length) % this.size;
    }
    const taken = indirectTable === undefined ? buffers.length : 1;
    this.#taken.set(head, taken);
    this.#inUse += taken;
    this.makeAvailable(head);
    return head;
  }

  makeAvailable(head: number): void {
    const { view } = this.memory;
    view.setUint16(this.available + 4 + 2 * (this.#availableIdx % this.size), head, true);
    this.#availableIdx = (this.#availableIdx + 1) & 0xffff;
    view.setUint16(this.available + 2, this.#availableIdx, true);
  }

  set availableFlags(flags: number) {
    this.memory.view.setUint16(this.available, flags, true);
  }
  /** Asks for an interrupt when the used index passes `event` (section 2.7.7.1). */
  set usedEvent(event: number) {
    this.memory.view.setUint16(this.available + 4 + 2 * this.size, event, true);
  }
  get usedIdx(): number {
    return this.memory.view.getUint16(this.used + 2, true);
  }

  /** What came back since the last call. */
  collect(): { head: number; written: number }[] {
    const { view } = this.memory;
    const back: { head: number; written: number }[] = [];
    for (; this.#seenUsed !== this.usedIdx; this.#seenUsed = (this.#seenUsed + 1) & 0xffff) {
      const at = this.used + 4 + 8 * (this.#seenUsed % this.size);
      const head = view.getUint32(at, true);
      back.push({ head, written: view.getUint32(at + 4, true) });
      this.#inUse -= this.#taken.get(head) ?? 0;
      this.#taken.delete(head);
    }
    return back;
  }

  mustNotify(eventIdx: boolean): boolean {
    const { view } = this.memory;
    if (!eventIdx) return view.getUint16(this.used, true) === 0;
    const event = view.getUint16(this.used + 4 + 8 * this.size, true);
    return passes(event, this.#availableIdx, this.#availableIdx - 1);
  }

  sleep(eventIdx: boolean): void {
    if (eventIdx) this.usedEvent = this.#seenUsed;
    else this.availableFlags = 0;
  }
}

/** The driver's side of a packed queue (virtio 1.2, section 2.8). */
export class TestPackedDriver implements TestDriver {
  static readonly F = { AVAIL: 1 << 7, USED: 1 << 15 } as const;
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
  #slot = 0;
  #wrap = 1;
  #seenSlot = 0;
  #seenWrap = 1;
  #inUse = 0;
  #lastSlots = 0;
  #nextId = 0;
  readonly #slots = new Map<number, number>();

  constructor(
    readonly memory: TestMemory,
    readonly size: number,
    base: number,
  ) {
    this.descriptors = base;
    this.available = base + 16 * size;
    this.used = this.available + 4;
  }

  get room(): number {
    return this.size - this.#inUse;
  }

  #write(at: number, { gpa, length }: TestBuffer, id: number): void {
    const { view } = this.memory;
    view.setBigUint64(at, BigInt(gpa), true);
    view.setUint32(at + 8, length, true);
    view.setUint16(at + 12, id, true);
  }

  offer(buffers: readonly TestBuffer[], indirectTable?: number): number {
    const id = this.#nextId;
    this.#nextId = (id + 1) & 0xffff;
    let list = buffers.map((buffer) => ({ buffer, flags: buffer.writable ? DESC.WRITE : 0 }));
    if (indirectTable !== undefined) {
      list.forEach(({ buffer, flags }, i) => {
        this.#write(indirectTable + 16 * i, buffer, 0);
        this.memory.view.setUint16(indirectTable + 16 * i + 14, flags, true);
      });
      const buffer = { gpa: indirectTable, length: 16 * buffers.length, writable: false };
      list = [{ buffer, flags: DESC.INDIRECT }];
    }
    let first: () => void = () => {};
    list.forEach(({ buffer, flags }, i) => {
      const at = this.descriptors + 16 * this.#slot;
      // Only the last one's id counts.
      this.#write(at, buffer, i + 1 === list.length ? id : 0xdead);
      const turn = this.#wrap === 1 ? TestPackedDriver.F.AVAIL : TestPackedDriver.F.USED;
      const all = flags | turn | (i + 1 < list.length ? DESC.NEXT : 0);
      const publish = () => this.memory.view.setUint16(at + 14, all, true);
      if (i === 0) first = publish;
      else publish();
      this.#slot++;
      if (this.#slot === this.size) [this.#slot, this.#wrap] = [0, 1 - this.#wrap];
    });
    first();
    this.#slots.set(id, list.length);
    this.#inUse += list.length;
    this.#lastSlots = list.length;
    return id;
  }

  collect(): { head: number; written: number }[] {
    const { view } = this.memory;
    const back: { head: number; written: number }[] = [];
    for (;;) {
      const at = this.descriptors + 16 * this.#seenSlot;
      const flags = view.getUint16(at + 14, true);
      const [avail, used] = [TestPackedDriver.F.AVAIL, TestPackedDriver.F.USED].map((bit) =>
        Number((flags & bit) !== 0),
      );
      if (avail !== used || used !== this.#seenWrap) return back;
      const head = view.getUint16(at + 12, true);
      back.push({ head, written: (flags & DESC.WRITE) === 0 ? 0 : view.getUint32(at + 8, true) });
      const slots = this.#slots.get(head);
      // A driver that was lied to would be lost; the test will say which id it was.
      if (slots === undefined) return back;
      this.#slots.delete(head);
      this.#inUse -= slots;
      this.#seenSlot += slots;
      if (this.#seenSlot >= this.size)
        [this.#seenSlot, this.#seenWrap] = [this.#seenSlot - this.size, 1 - this.#seenWrap];
    }
  }

  mustNotify(_eventIdx: boolean): boolean {
    const { view } = this.memory;
    const flags = view.getUint16(this.used + 2, true);
    if (flags !== 2) return flags === 0;
    const position = view.getUint16(this.used, true);
    const event = (position & 0x7fff) - (position >> 15 === this.#wrap ? 0 : this.size);
    return passes(event, this.#slot, this.#slot - this.#lastSlots);
  }

  sleep(eventIdx: boolean): void {
    const { view } = this.memory;
    view.setUint16(this.available, this.#seenSlot | (this.#seenWrap << 15), true);
    view.setUint16(this.available + 2, eventIdx ? 2 : 0, true);
  }
}

/** A device on a transport with a driver's hands on it. */
export class TestDevice {
  readonly registers: DriverRegisters;
  readonly server: DeviceServer;
  readonly faults: string[] = [];
  interrupts = 0;
  clockNs = 0;

  constructor(
    readonly device: VirtioDevice,
    backend: VirtioBackend,
    readonly memory: TestMemory,
    transport: TransportName = "mmio",
  ) {
    this.registers = registersOf(transport, device);
    this.server = new DeviceServer({
      state: this.state,
      backend,
      memory,
      interrupt: (source) => this.registers.interrupt(source, () => this.interrupts++),
      onFault: (message) => this.faults.push(message),
      nowNs: () => this.clockNs,
    });
  }

  get state(): TransportState {
    return this.registers.state;
  }
  get status(): number {
    return this.registers.status;
  }

  /** Section 3.1.1, with every feature that the device offers except `without`. */
  start(
    queue: TestDriver,
    { index = 0, without = [] as readonly number[], more = [] as readonly (readonly [number, TestDriver])[] } = {},
  ): void {
    const { registers } = this;
    registers.status = 0;
    registers.status = STATUS.ACKNOWLEDGE | STATUS.DRIVER;
    featureWords(this.device).forEach((word, select) => {
      let wanted = word;
      for (const feature of without) if (feature >> 5 === select) wanted &= ~(1 << (feature & 31));
      registers.accept(select, wanted >>> 0);
    });
    registers.status = STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FEATURES_OK;
    for (const [number, each] of [[index, queue] as const, ...more]) {
      registers.selectQueue(number);
      registers.placeQueue(each);
      registers.setQueueReady(1);
    }
    registers.status |= STATUS.DRIVER_OK;
  }
}

/** Features that change how a queue works. */
export const RING_FEATURES = [FEATURE.RING_INDIRECT_DESC, FEATURE.RING_EVENT_IDX];

/** A disk that is its bytes, and refuses what no caller may ask of a disk. */
export class MemoryDisk implements DiskImage {
  readonly bytes: Uint8Array;
  readonly readonly: boolean;
  /** Requests from here on fail with this. */
  failure: Error | undefined;
  readonly calls: string[] = [];

  constructor(sizeBytes: number, { readonly = false } = {}) {
    this.bytes = new Uint8Array(sizeBytes);
    this.readonly = readonly;
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  #begin(call: string, offset = 0, lengthBytes = 0): void {
    checkRange(offset, lengthBytes, this.sizeBytes);
    if (this.calls.length < 100) this.calls.push(call);
    if (this.failure !== undefined) throw this.failure;
  }

  readv(offset: number, into: readonly Uint8Array[]): void {
    const length = into.reduce((sum, buffer) => sum + buffer.length, 0);
    this.#begin("readv", offset, length);
    let at = offset;
    for (const buffer of into) {
      buffer.set(this.bytes.subarray(at, at + buffer.length));
      at += buffer.length;
    }
  }
  writev(offset: number, from: readonly Uint8Array[]): void {
    const length = from.reduce((sum, buffer) => sum + buffer.length, 0);
    this.#begin("writev", offset, length);
    let at = offset;
    for (const buffer of from) {
      this.bytes.set(buffer, at);
      at += buffer.length;
    }
  }
  flush(): void {
    this.#begin("flush");
  }
  discard(offset: number, lengthBytes: number): void {
    this.#begin("discard", offset, lengthBytes);
  }
  writeZeroes(offset: number, lengthBytes: number, mayUnmap: boolean): void {
    this.#begin(mayUnmap ? "writeZeroes unmap" : "writeZeroes", offset, lengthBytes);
    this.bytes.fill(0, offset, offset + lengthBytes);
  }
  close(): void {
    this.calls.push("close");
  }
}
