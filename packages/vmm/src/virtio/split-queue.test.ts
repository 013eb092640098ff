/** A split virtqueue: every chain comes once, with its bytes, and goes back; what the driver must not do is a fault. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SplitQueue } from "./split-queue.js";
import { DESC, TestDriverQueue, TestMemory } from "./testing.js";
import { VirtqueueFault } from "./virtqueue.js";

const DATA = 0x8000;
const INDIRECT = 0x7000;

function pair(size = 8, options = { indirect: true, eventIdx: false }) {
  const memory = new TestMemory(0x4_0000);
  const driver = new TestDriverQueue(memory, size, 0x1000);
  const { descriptors, available, used } = driver;
  const queue = new SplitQueue(memory, { size, descriptors, driver: available, device: used }, options);
  return { memory, driver, queue };
}

describe("a virtqueue", () => {
  it("gives each chain once, its buffers in order, and takes it back with what was written", () => {
    const chain = fc.record({
      readable: fc.array(fc.nat(300), { maxLength: 3 }),
      writable: fc.array(fc.nat(300), { maxLength: 3 }),
      indirect: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(fc.array(chain, { maxLength: 3 }), { maxLength: 20 }), fc.boolean(), (rounds, eventIdx) => {
        const { memory, driver, queue } = pair(32, { indirect: true, eventIdx });
        for (const chains of rounds) {
          let at = DATA;
          const offered = chains.map(({ readable, writable, indirect }, c) => {
            const lengths = [
              ...readable.map((length) => [length, false] as const),
              ...writable.map((length) => [length, true] as const),
            ];
            const buffers = lengths.map(([length, isWritable]) => {
              memory.bytes.fill(c + 1, at, at + length);
              at += length;
              return { gpa: at - length, length, writable: isWritable };
            });
            if (buffers.length === 0) buffers.push({ gpa: at, length: 0, writable: true });
            return { buffers, c, head: driver.offer(buffers, indirect ? INDIRECT + 0x100 * c : undefined) };
          });
          for (const { buffers, c, head } of offered) {
            const got = queue.next()!;
            expect(got.head).toBe(head);
            const kept = buffers.filter(({ length }) => length > 0);
            expect(got.readable.map((view) => view.length)).toEqual(
              kept.filter(({ writable }) => !writable).map(({ length }) => length),
            );
            expect(got.writable.map((view) => view.length)).toEqual(
              kept.filter(({ writable }) => writable).map(({ length }) => length),
            );
            for (const view of [...got.readable, ...got.writable])
              expect(view.every((byte) => byte === c + 1)).toBe(true);
            queue.complete(got, 10 * c);
          }
          expect(queue.next()).toBeUndefined();
          expect(driver.collect()).toEqual(offered.map(({ head, c }) => ({ head, written: 10 * c })));
        }
      }),
      { numRuns: 100 },
    );
  });

  it("goes on when its indices pass 65535, whatever its size", () => {
    for (const size of [1, 4]) {
      const { driver, queue } = pair(size, { indirect: false, eventIdx: true });
      for (let i = 0; i < 70_000; i++) {
        driver.offer([{ gpa: DATA, length: 1, writable: true }]);
        queue.complete(queue.next()!, 1);
      }
      expect(driver.usedIdx).toBe(70_000 % 65_536);
      expect(queue.next()).toBeUndefined();
    }
  });
});

describe("an interrupt is wanted", () => {
  const finish = ({ driver, queue }: ReturnType<typeof pair>, count: number) => {
    for (let i = 0; i < count; i++) {
      driver.offer([{ gpa: DATA, length: 1, writable: true }]);
      queue.complete(queue.next()!, 1);
    }
  };

  it("after anything was completed, once, unless the driver's flag says no", () => {
    const both = pair();
    expect(both.queue.takesInterrupt()).toBe(false);
    finish(both, 2);
    expect([both.queue.takesInterrupt(), both.queue.takesInterrupt()]).toEqual([true, false]);
    both.driver.availableFlags = 1;
    finish(both, 1);
    expect(both.queue.takesInterrupt()).toBe(false);
  });

  it("when the used index passes the driver's event, and only then, around 65535 too", () => {
    const both = pair(8, { indirect: false, eventIdx: true });
    both.driver.usedEvent = 2;
    finish(both, 2);
    expect(both.queue.takesInterrupt()).toBe(false); // entries 0 and 1
    finish(both, 1);
    expect(both.queue.takesInterrupt()).toBe(true); // entry 2
    finish(both, 65_530);
    expect(both.queue.takesInterrupt()).toBe(false); // up to 65532: passed no 2
    both.driver.usedEvent = 0;
    finish(both, 4);
    expect(both.queue.takesInterrupt()).toBe(true); // 65533, 65534, 65535, 0
  });
});

describe("a notification is asked for", () => {
  it("by the flag, or by the index that was reached; what came meanwhile is seen", () => {
    const plain = pair();
    plain.queue.disableNotifications();
    expect(plain.memory.view.getUint16(plain.driver.used, true)).toBe(1);
    expect(plain.queue.enableNotifications()).toBe(false);
    expect(plain.memory.view.getUint16(plain.driver.used, true)).toBe(0);

    const events = pair(8, { indirect: false, eventIdx: true });
    events.driver.offer([{ gpa: DATA, length: 1, writable: true }]);
    expect(events.queue.enableNotifications()).toBe(true);
    events.queue.complete(events.queue.next()!, 1);
    expect(events.queue.enableNotifications()).toBe(false);
    expect(events.memory.view.getUint16(events.driver.used + 4 + 8 * 8, true)).toBe(1);
  });
});

describe("a driver's fault", () => {
  type Both = ReturnType<typeof pair>;
  const READ = { gpa: DATA, length: 16, writable: false };
  const WRITE = { gpa: DATA, length: 16, writable: true };
  const flags = ({ driver, memory }: Both, index: number, value: number, table = driver.descriptors) =>
    memory.view.setUint16(table + 16 * index + 12, value, true);
  const faults: [string, (both: Both) => void, RegExp, { indirect: boolean; eventIdx: boolean }?][] = [
    ["a head that is no descriptor", ({ driver }) => driver.makeAvailable(8), /descriptor 8 of a table of 8/],
    [
      "a next that is no descriptor",
      ({ driver }) => {
        driver.descriptor(driver.descriptors, 0, READ, 9);
        driver.makeAvailable(0);
      },
      /descriptor 9 of a table of 8/,
    ],
    [
      "a loop",
      ({ driver }) => {
        driver.descriptor(driver.descriptors, 0, READ, 1);
        driver.descriptor(driver.descriptors, 1, READ, 0);
        driver.makeAvailable(0);
      },
      /longer than its queue/,
    ],
    [
      "a loop of empty buffers",
      ({ driver }) => {
        driver.descriptor(driver.descriptors, 0, { ...READ, length: 0 }, 0);
        driver.makeAvailable(0);
      },
      /longer than its queue/,
    ],
    ["readable after writable", ({ driver }) => driver.offer([WRITE, READ]), /readable buffer after a writable/],
    [
      "a buffer beyond RAM",
      ({ driver }) => driver.offer([{ ...READ, gpa: 0x3_fff8 }]),
      /16 bytes at 0x3fff8, which is not RAM/,
    ],
    [
      "a buffer at the end of all addresses",
      ({ driver, memory }) => {
        driver.offer([READ]);
        memory.view.setBigUint64(driver.descriptors, 2n ** 64n - 8n, true);
      },
      /not RAM/,
    ],
    [
      "more entries than the ring has",
      ({ driver, memory }) => memory.view.setUint16(driver.available + 2, 9, true),
      /9 entries are available in a ring of 8/,
    ],
    [
      "an indirect table that was not negotiated",
      ({ driver }) => driver.offer([READ], INDIRECT),
      /not negotiated/,
      { indirect: false, eventIdx: false },
    ],
    [
      "an indirect table of 17 bytes",
      (both) => {
        both.driver.offer([READ], INDIRECT);
        both.memory.view.setUint32(both.driver.descriptors + 8, 17, true);
      },
      /indirect table of 17 bytes/,
    ],
    [
      "an empty indirect table",
      (both) => {
        both.driver.offer([READ], INDIRECT);
        both.memory.view.setUint32(both.driver.descriptors + 8, 0, true);
      },
      /indirect table of 0 bytes/,
    ],
    [
      "an indirect table beyond RAM",
      (both) => {
        both.driver.offer([READ], INDIRECT);
        both.memory.view.setBigUint64(both.driver.descriptors, 0x3_fff8n, true);
      },
      /indirect table of 16 bytes at 0x3fff8/,
    ],
    [
      "an indirect table within another",
      (both) => {
        both.driver.offer([READ], INDIRECT);
        flags(both, 0, DESC.INDIRECT, INDIRECT);
      },
      /indirect table inside another/,
    ],
    [
      "an indirect table with a next",
      (both) => {
        both.driver.offer([READ], INDIRECT);
        flags(both, 0, DESC.INDIRECT | DESC.NEXT);
      },
      /with a next one/,
    ],
    [
      "an indirect chain longer than the queue",
      (both) => both.driver.offer(new Array(9).fill(READ), INDIRECT),
      /longer than its queue/,
    ],
  ];
  it.each(faults)("is %s", (_what, misbehave, message, options) => {
    const both = pair(8, options);
    misbehave(both);
    expect(() => both.queue.next()).toThrow(
      expect.objectContaining({ name: "VirtqueueFault", message: expect.stringMatching(message) }),
    );
  });

  it.each([
    ["no power of two", { size: 3 }],
    ["of no entries", { size: 0 }],
    ["with too many entries", { size: 65_536 }],
    ["whose descriptors are at no multiple of 16", { descriptors: 0x1008 }],
    ["whose available ring is at an odd address", { driver: 0x1001 }],
    ["whose used ring is at no multiple of 4", { device: 0x1002 }],
    ["that ends beyond RAM", { device: 0x3_fffc }],
    ["at an address that no number holds", { descriptors: Number.NaN }],
  ])("is a queue %s", (_what, wrong) => {
    const layout = { size: 8, descriptors: 0x1000, driver: 0x2000, device: 0x3000, ...wrong };
    expect(() => new SplitQueue(new TestMemory(0x4_0000), layout, { indirect: true, eventIdx: true })).toThrow(
      VirtqueueFault,
    );
  });
});
