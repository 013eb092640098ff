/** What holds for virtqueues of both formats: every chain comes and goes once, with its bytes, and nobody sleeps on it. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PackedQueue } from "./packed-queue.js";
import { SplitQueue } from "./split-queue.js";
import { type TestDriver, TestDriverQueue, TestMemory, TestPackedDriver } from "./testing.js";
import type { DescriptorChain, Virtqueue, VirtqueueOptions } from "./virtqueue.js";

const RINGS = 0x1000;
const TABLES = 0x2000;
const TABLE_BYTES = 0x100;
const DATA = 0x8000;
const BUFFER_BYTES = 0x40;

type Format = "split" | "packed";

function pair(format: Format, size: number, options: VirtqueueOptions) {
  const memory = new TestMemory(0x4_0000);
  const driver: TestDriver =
    format === "split" ? new TestDriverQueue(memory, size, RINGS) : new TestPackedDriver(memory, size, RINGS);
  const { descriptors, available, used } = driver;
  const layout = { size, descriptors, driver: available, device: used };
  const queue: Virtqueue =
    format === "split" ? new SplitQueue(memory, layout, options) : new PackedQueue(memory, layout, options);
  return { memory, driver, queue };
}

/** What a chain is answered with: the sum of what it gave, in every writable byte. */
function answer({ readable, writable }: DescriptorChain): number {
  const sum = readable.reduce((all, view) => view.reduce((part, byte) => part + byte, all), 0) & 0xff;
  let written = 0;
  for (const view of writable) {
    view.fill(sum);
    written += view.length;
  }
  return written;
}

interface Offered {
  readonly sum: number;
  readonly writable: { gpa: number; length: number }[];
}

/** An expectation that may be checked a million times. */
function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`does not hold: ${what}`);
}

/** Driver and device, each asleep until the other is bound to wake it; a wake-up that is missing is noticed at once. */
class Exchange {
  readonly memory: TestMemory;
  readonly driver: TestDriver;
  readonly queue: Virtqueue;
  readonly #eventIdx: boolean;
  readonly #open = new Map<number, Offered>();
  #isDeviceAwake = true;
  #isDriverAsleep = false;
  #serial = 0;
  done = 0;

  constructor(format: Format, size: number, options: VirtqueueOptions) {
    const { memory, driver, queue } = pair(format, size, options);
    this.memory = memory;
    this.driver = driver;
    this.queue = queue;
    this.#eventIdx = options.eventIdx;
  }

  offer(readable: readonly number[], writable: readonly number[], isIndirect: boolean): void {
    const lengths = [...readable, ...writable];
    if (lengths.length === 0 || this.driver.room < (isIndirect ? 1 : lengths.length)) return;
    if (lengths.length > this.driver.size) return;
    const serial = this.#serial++;
    const place = serial % 64;
    let sum = 0;
    const buffers = lengths.map((length, i) => {
      const gpa = DATA + BUFFER_BYTES * (8 * place + i);
      const isWritable = i >= readable.length;
      this.memory.bytes.fill((serial + i) & 0xff, gpa, gpa + length);
      if (!isWritable) sum += length * ((serial + i) & 0xff);
      return { gpa, length, writable: isWritable };
    });
    const head = this.driver.offer(buffers, isIndirect ? TABLES + TABLE_BYTES * place : undefined);
    check(!this.#open.has(head), "a chain's name is free");
    this.#open.set(head, { sum: sum & 0xff, writable: buffers.filter((buffer) => buffer.writable) });
    if (this.driver.mustNotify(this.#eventIdx)) this.#isDeviceAwake = true;
    check(this.#isDeviceAwake, "the device is awake when a chain is available");
  }

  /** The device works off at most `most` chains, and sleeps when there are no more. */
  serve(most: number): void {
    if (!this.#isDeviceAwake) return;
    this.queue.disableNotifications();
    for (let served = 0; served < most; served++) {
      const chain = this.queue.next();
      if (chain === undefined) {
        this.#isDeviceAwake = this.queue.enableNotifications();
        check(!this.#isDeviceAwake, "nothing has come since the last look");
        break;
      }
      this.queue.complete(chain, answer(chain));
      if (this.queue.takesInterrupt()) this.#isDriverAsleep = false;
      check(!this.#isDriverAsleep, "the driver is awake when a chain has come back");
    }
  }

  collect(): void {
    if (this.#isDriverAsleep) return;
    this.#takeBack();
    this.driver.sleep(this.#eventIdx);
    this.#takeBack();
    this.#isDriverAsleep = true;
  }

  #takeBack(): void {
    for (const { head, written } of this.driver.collect()) {
      const offered = this.#open.get(head);
      check(offered !== undefined, "what comes back was offered");
      this.#open.delete(head);
      this.done++;
      const { sum, writable } = offered!;
      check(written === writable.reduce((all, { length }) => all + length, 0), "all was written");
      for (const { gpa, length } of writable) {
        check(
          this.memory.bytes.subarray(gpa, gpa + length).every((byte) => byte === sum),
          "what was written is the answer",
        );
      }
    }
  }

  finish(): void {
    this.serve(Number.POSITIVE_INFINITY);
    this.collect();
    expect([...this.#open.keys()]).toEqual([]);
    expect(this.driver.room).toBe(this.driver.size);
    expect(this.done).toBe(this.#serial);
    expect(this.memory.isGuardIntact).toBe(true);
  }
}

const lengths = fc.array(fc.integer({ min: 1, max: BUFFER_BYTES }), { maxLength: 4 });
const steps = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.tuple(fc.constant("offer" as const), lengths, lengths, fc.boolean()) },
    { weight: 2, arbitrary: fc.tuple(fc.constant("serve" as const), fc.integer({ min: 1, max: 6 })) },
    { weight: 1, arbitrary: fc.tuple(fc.constant("collect" as const)) },
  ),
  { maxLength: 80 },
);

describe.each(["split", "packed"] as const)("a %s virtqueue", (format) => {
  const sizes = format === "split" ? [1, 2, 8, 32] : [1, 2, 3, 7, 8, 31];

  it("loses no chain, no byte and no wake-up, however driver and device take turns", () => {
    fc.assert(
      fc.property(fc.constantFrom(...sizes), fc.boolean(), steps, (size, eventIdx, list) => {
        const exchange = new Exchange(format, size, { indirect: true, eventIdx });
        for (const step of list) {
          if (step[0] === "offer") exchange.offer(step[1], step[2], step[3]);
          else if (step[0] === "serve") exchange.serve(step[1]);
          else exchange.collect();
        }
        exchange.finish();
      }),
      { numRuns: 400 },
    );
  });

  it.each(sizes)("of %d goes round and round: its indices pass 65535, or its wrap counters turn", (size) => {
    const exchange = new Exchange(format, size, { indirect: true, eventIdx: true });
    const rounds = format === "split" && size === 8 ? 70_000 : 5_000;
    for (let i = 0; i < rounds; i++) {
      exchange.offer(i % 3 === 0 ? [1] : [], [1], i % 5 === 0);
      exchange.serve(2);
      exchange.collect();
    }
    exchange.finish();
    expect(exchange.done).toBeGreaterThan(rounds / 2);
  });

  it.each([false, true])("says what came between its last look and its going to sleep (EVENT_IDX: %s)", (eventIdx) => {
    const { driver, queue } = pair(format, 8, { indirect: false, eventIdx });
    queue.disableNotifications();
    expect(queue.next()).toBeUndefined();
    driver.offer([{ gpa: DATA, length: 1, writable: true }]);
    expect(queue.enableNotifications()).toBe(true);
    queue.complete(queue.next()!, 1);
    expect(queue.enableNotifications()).toBe(false);
  });

  it("gives chains again that were put back", () => {
    const { driver, queue } = pair(format, 8, { indirect: true, eventIdx: false });
    for (let round = 0; round < 20; round++) {
      const heads = [1, 3, 2].map((length, i) =>
        driver.offer(new Array(length).fill({ gpa: DATA, length: 1 + i, writable: true })),
      );
      const taken = heads.map(() => queue.next()!);
      expect(taken.map(({ head }) => head)).toEqual(heads);
      expect(queue.next()).toBeUndefined();
      queue.putBack(taken.slice(1));
      // Only for what is new would anybody look again.
      expect(queue.enableNotifications()).toBe(false);
      const again = [taken[0]!, queue.next()!, queue.next()!];
      expect(again.map(({ head }) => head)).toEqual(heads);
      expect(queue.next()).toBeUndefined();
      for (const chain of again) queue.complete(chain, 1);
      expect(driver.collect().map(({ head }) => head)).toEqual(heads);
    }
  });

  it("takes an indirect table behind buffers, as the last of its chain", () => {
    const { memory, driver, queue } = pair(format, 8, { indirect: true, eventIdx: false });
    const header = { gpa: DATA, length: 3, writable: false };
    driver.offer([header, { gpa: TABLES, length: 32, writable: false }]);
    const flagsAt = RINGS + 16 + (format === "split" ? 12 : 14);
    memory.view.setUint16(flagsAt, memory.view.getUint16(flagsAt, true) | 4, true);
    memory.view.setBigUint64(TABLES, BigInt(DATA), true);
    memory.view.setUint32(TABLES + 8, 5, true);
    memory.view.setBigUint64(TABLES + 16, BigInt(DATA), true);
    memory.view.setUint32(TABLES + 24, 7, true);
    if (format === "split") {
      memory.view.setUint16(TABLES + 12, 1, true);
      memory.view.setUint16(TABLES + 14, 1, true);
      memory.view.setUint16(TABLES + 28, 2, true);
    } else {
      memory.view.setUint16(TABLES + 30, 2, true);
    }
    const chain = queue.next()!;
    expect(chain.readable.map(({ length }) => length)).toEqual([3, 5]);
    expect(chain.writable.map(({ length }) => length)).toEqual([7]);
  });

  it("looks at no more of an indirect table than a chain can use, however long its driver says it is", () => {
    const { memory, driver, queue } = pair(format, 8, { indirect: true, eventIdx: false });
    let asked = 0;
    const { descriptors, available, used, size } = driver;
    const watched = {
      views: (gpa: number, length: number, views: Uint8Array[]) => {
        asked = Math.max(asked, length);
        return memory.views(gpa, Math.min(length, 0x1000), views);
      },
    };
    const Queue = format === "split" ? SplitQueue : PackedQueue;
    const layout = { size, descriptors, driver: available, device: used };
    const other = new Queue(watched, layout, { indirect: true, eventIdx: false });
    driver.offer([{ gpa: DATA, length: 1, writable: false }], TABLES);
    memory.view.setUint32(RINGS + 8, 0xffff_fff0, true);
    try {
      other.next();
    } catch {}
    expect(asked).toBeLessThanOrEqual(2 ** 20);
    expect(queue.size).toBe(8);
  });
});

describe("a packed driver's fault", () => {
  const READ = { gpa: DATA, length: 16, writable: false };
  const WRITE = { gpa: DATA, length: 16, writable: true };
  const orFlags = (memory: TestMemory, at: number, flags: number) =>
    memory.view.setUint16(at + 14, memory.view.getUint16(at + 14, true) | flags, true);

  it.each<[string, (driver: TestDriver, memory: TestMemory) => void, RegExp, boolean?]>([
    ["readable after writable", (driver) => driver.offer([WRITE, READ]), /readable buffer after a writable/],
    ["a buffer beyond RAM", (driver) => driver.offer([{ ...READ, gpa: 0x3_fff8 }]), /not RAM/],
    [
      "a ring in which every descriptor has a next one",
      (driver, memory) => {
        driver.offer(new Array(8).fill(READ));
        orFlags(memory, RINGS + 16 * 7, 1);
      },
      /longer than its queue/,
    ],
    ["an indirect table that was not negotiated", (driver) => driver.offer([READ], TABLES), /not negotiated/, false],
    ["an indirect table longer than the queue", (driver) => driver.offer(new Array(9).fill(READ), TABLES), /longer/],
    [
      "an indirect table with a next",
      (driver, memory) => {
        driver.offer([READ], TABLES);
        orFlags(memory, RINGS, 1);
      },
      /with a next one/,
    ],
    [
      "an indirect table within another",
      (driver, memory) => {
        driver.offer([READ], TABLES);
        orFlags(memory, TABLES, 4);
      },
      /inside another/,
    ],
    [
      "an indirect table of 17 bytes",
      (driver, memory) => {
        driver.offer([READ], TABLES);
        memory.view.setUint32(RINGS + 8, 17, true);
      },
      /indirect table of 17 bytes/,
    ],
  ])("is %s", (_what, misbehave, message, indirect = true) => {
    const { memory, driver, queue } = pair("packed", 8, { indirect, eventIdx: false });
    misbehave(driver, memory);
    expect(() => queue.next()).toThrow(
      expect.objectContaining({ name: "VirtqueueFault", message: expect.stringMatching(message) }),
    );
  });

  it.each([
    ["of no entries", { size: 0 }],
    ["with too many entries", { size: 32_769 }],
    ["whose ring is at no multiple of 16", { descriptors: 0x1008 }],
    ["whose driver's area is at no multiple of 4", { driver: 0x2002 }],
    ["whose device's area is beyond RAM", { device: 0x4_0000 }],
  ])("is a queue %s", (_what, wrong) => {
    const layout = { size: 8, descriptors: 0x1000, driver: 0x2000, device: 0x3000, ...wrong };
    expect(() => new PackedQueue(new TestMemory(0x4_0000), layout, { indirect: true, eventIdx: true })).toThrow(
      expect.objectContaining({ name: "VirtqueueFault" }),
    );
  });
});
