/**
 * A hostile driver for any device: chains of which up to four numbers have been changed, in either ring, and between them
 * writes to the transport's registers that no driver would make. Not exported.
 */
import { expect } from "vitest";
import type { VirtioBackend, VirtioDevice } from "./device.js";
import { FEATURE, STATUS } from "./ids.js";
import {
  RING_FEATURES,
  TestDevice,
  type TestDriver,
  TestDriverQueue,
  TestMemory,
  TestPackedDriver,
} from "./testing.js";
import type { TransportName } from "./testing-registers.js";

export const RAM_BYTES = 0x2_0000;
const QUEUE_SIZE = 16;
const RINGS = 0x1000;
const INDIRECT = 0x4000;
/** Where requests begin. */
export const DATA = 0x8000;
const HEADER_BYTES = 16;
const CHECK_EVERY = 4096;
/** A driver that makes no fault begins anew all the same: with another queue, another ring, other features. */
const RESTART_EVERY = 256;
/** Chains between two writes to registers. */
const REGISTERS_EVERY = 32;
const PROGRESS_EVERY = 100_000;
const READY = STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FEATURES_OK | STATUS.DRIVER_OK;

export interface Target {
  readonly device: VirtioDevice;
  readonly backend: VirtioBackend;
  /** Those that its driver may have something in. */
  readonly queues: readonly number[];
  /** Writes the first 16 bytes of a request, such as this device's driver makes. */
  readonly request?: (header: DataView, random: Random) => void;
}

export interface Campaign {
  readonly transport: TransportName;
  readonly chains: number;
  readonly seed: number;
  readonly onProgress?: (chains: number) => void;
}

export interface Outcome {
  /** Chains that were a fault of the driver's. */
  readonly faults: number;
  /** Chains that came back. */
  readonly completed: number;
}

/** A whole number from 0 to below its argument. */
export type Random = (below: number) => number;

/** xorshift32. */
export function generator(seed: number): Random {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const INTERESTING = [
  ...[0, 1, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, 0xffff_ffff],
  ...[RAM_BYTES, RAM_BYTES - 8, RINGS],
];

function anyNumber(random: Random): number {
  return random(2) === 0 ? INTERESTING[random(INTERESTING.length)]! : random(2 ** 32);
}

/** Throws, or fails the test, when the device does what no driver may make it do. */
export function fuzz(target: Target, { transport, chains, seed, onProgress }: Campaign): Outcome {
  const driver = new HostileDriver(target, transport, generator(seed));
  for (let chain = 1; chain <= chains; chain++) {
    driver.offer();
    if (chain % REGISTERS_EVERY === 0) driver.disturb();
    if (chain % RESTART_EVERY === 0) driver.restart();
    if (chain % CHECK_EVERY === 0) driver.check();
    if (chain % PROGRESS_EVERY === 0) onProgress?.(chain);
  }
  driver.check();
  return driver;
}

class HostileDriver implements Outcome {
  faults = 0;
  completed = 0;
  readonly #target: Target;
  readonly #random: Random;
  readonly #memory = new TestMemory(RAM_BYTES);
  readonly #header: DataView;
  readonly #test: TestDevice;
  #queue!: TestDriver;
  #index = 0;

  constructor(target: Target, transport: TransportName, random: Random) {
    const { device, backend } = target;
    this.#target = target;
    this.#random = random;
    this.#header = new DataView(this.#memory.view.buffer, this.#memory.view.byteOffset + DATA, HEADER_BYTES);
    const bothRings = { ...device, features: [...device.features, FEATURE.RING_PACKED] };
    this.#test = new TestDevice(bothRings, backend, this.#memory, transport);
    this.restart();
  }

  /** Takes the device into use as the specification has it, which must work whatever was before. */
  restart(): void {
    const random = this.#random;
    const { registers } = this.#test;
    if (random(4) === 0) registers.powerCycle();
    else registers.enable();
    this.#memory.bytes.fill(0, RINGS, DATA);
    this.#index = this.#target.queues[random(this.#target.queues.length)]!;
    const isPacked = random(2) === 0;
    const Queue = isPacked ? TestPackedDriver : TestDriverQueue;
    this.#queue = new Queue(this.#memory, QUEUE_SIZE, RINGS);
    const without = RING_FEATURES.filter(() => random(4) === 0);
    this.#test.start(this.#queue, {
      index: this.#index,
      without: isPacked ? without : [...without, FEATURE.RING_PACKED],
    });
    this.#test.faults.length = 0;
    if (this.#test.status !== READY) expect(this.#test.status).toBe(READY);
  }

  offer(): void {
    const random = this.#random;
    this.#makeRequest();
    for (let changes = random(5); changes > 0; changes--) this.#mutate();
    this.#serve();
    if ((this.#test.status & STATUS.DEVICE_NEEDS_RESET) !== 0) {
      this.faults++;
      this.restart();
    } else {
      this.completed += this.#queue.collect().length;
    }
  }

  /** Registers are written as nobody should, while chains wait; then the device has its turn. */
  disturb(): void {
    const random = this.#random;
    this.#makeRequest();
    for (let writes = 1 + random(4); writes > 0; writes--) this.#test.registers.disturb(random, anyNumber(random));
    this.#serve();
    this.restart();
  }

  check(): void {
    expect(this.#memory.isGuardIntact).toBe(true);
  }

  #serve(): void {
    const { server } = this.#test;
    if (this.#target.backend.attendant !== undefined) server.attend();
    else if (this.#target.backend.input?.queueIndex === this.#index) server.deliver();
    else server.serve(this.#index);
  }

  /** A request as a driver might make it: a header, some data, and a byte for the answer. */
  #makeRequest(): void {
    const random = this.#random;
    const isRead = random(2) === 0;
    (this.#target.request ?? blockRequest)(this.#header, random);
    const data = Array.from({ length: random(3) }, (_, i) => ({
      gpa: DATA + 0x1000 * (i + 1),
      length: 512 * random(4),
      writable: isRead,
    }));
    const header = { gpa: DATA, length: HEADER_BYTES, writable: false };
    const answer = { gpa: DATA + HEADER_BYTES, length: 1, writable: true };
    this.#queue.offer([header, ...data, answer], random(3) === 0 ? INDIRECT : undefined);
  }

  /** Changes a number in the descriptors, the rings, an indirect table or a request's header. */
  #mutate(): void {
    const random = this.#random;
    const { view } = this.#memory;
    const [start, length] = PLACES[random(PLACES.length)]!;
    const width = [1, 2, 4][random(3)]!;
    const at = start + random(length - width + 1);
    const value = anyNumber(random);
    if (width === 1) view.setUint8(at, value & 0xff);
    else if (width === 2) view.setUint16(at, value & 0xffff, true);
    else view.setUint32(at, value >>> 0, true);
  }
}

const PLACES: readonly (readonly [number, number])[] = [
  [RINGS, 16 * QUEUE_SIZE],
  [RINGS + 16 * QUEUE_SIZE, 6 + 2 * QUEUE_SIZE],
  [INDIRECT, 16 * 8],
  [DATA, HEADER_BYTES],
];

const BLOCK_REQUESTS = [0, 1, 4, 8, 11, 13];

export function blockRequest(header: DataView, random: Random): void {
  header.setUint32(0, BLOCK_REQUESTS[random(BLOCK_REQUESTS.length)]!, true);
  header.setBigUint64(8, BigInt(random(80)), true);
}
