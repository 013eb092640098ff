/** The balloon over real rings and a real memfd: what the guest gives back is the host's again (virtio 1.2, section 5.5). */
import { fstatSync } from "node:fs";
import { EventFd } from "@tools-kvm/kvm-binding";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { GuestRam } from "../../../machine/guest-ram.js";
import { STATUS } from "../../ids.js";
import { TestDevice, TestDriverQueue, TestMemory } from "../../testing.js";
import {
  BALLOON_CONFIG,
  BALLOON_FEATURE,
  BALLOON_PAGE_BYTES,
  BALLOON_QUEUE,
  balloonDevice,
  balloonSize,
  setBalloonTarget,
} from "./balloon.js";
import { BalloonBackend, MOST_PAGES } from "./balloon-backend.js";
import { type BalloonStats, parseStats } from "./balloon-stats.js";

const RAM_BYTES = 2 ** 21;
const RAM_PAGES = RAM_BYTES / BALLOON_PAGE_BYTES;
const PFNS = 0x4000;

const open: Disposable[] = [];
afterEach(() => {
  for (const each of open.splice(0)) each[Symbol.dispose]();
});

/** The rings lie in a memory of their own; the pages that are given back are the memfd's. */
function setUp(queueIndex: number) {
  const ram = GuestRam.create(RAM_BYTES);
  const ask = EventFd.create();
  open.push({ [Symbol.dispose]: () => ram.close() }, ask);
  const rings = new TestMemory(0x8_0000);
  const queue = new TestDriverQueue(rings, 16, 0x1000);
  const stats: BalloonStats[] = [];
  const backend = new BalloonBackend({ memory: ram, ask, onStats: (each) => stats.push(each) });
  const test = new TestDevice(balloonDevice({ name: "virtio-balloon0", sizeBytes: 2 ** 20 }), backend, rings);
  test.start(queue, { index: queueIndex });
  const bytes = ram.view(0, RAM_BYTES).fill(0xaa);
  const blocks = (): number => fstatSync(ram.regions[0]!.memory.fd).blocks * 512;
  const inflate = (pages: readonly number[]): void => {
    pages.forEach((page, i) => {
      rings.view.setUint32(PFNS + 4 * i, page, true);
    });
    queue.offer([{ gpa: PFNS, length: 4 * pages.length, writable: false }]);
    test.server.serve(queueIndex);
  };
  return { ram, ask, rings, queue, stats, test, backend, bytes, blocks, inflate };
}

describe("pages that the driver inflates the balloon with", () => {
  it("are the host's again: the memfd has them no more, and the guest reads zeros", () => {
    const { inflate, blocks, queue, bytes } = setUp(BALLOON_QUEUE.INFLATE);
    expect(blocks()).toBe(RAM_BYTES);
    inflate([9, 8, 7, 300]);
    expect(queue.collect()).toHaveLength(1);
    expect(blocks()).toBe(RAM_BYTES - 4 * BALLOON_PAGE_BYTES);
    expect(bytes[8 * BALLOON_PAGE_BYTES]).toBe(0);
    expect(bytes[10 * BALLOON_PAGE_BYTES]).toBe(0xaa);
    bytes[8 * BALLOON_PAGE_BYTES] = 1;
    expect(blocks()).toBe(RAM_BYTES - 3 * BALLOON_PAGE_BYTES);
  });

  it("are exactly those of the array, in whatever order and however often", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(RAM_PAGES - 1), { minLength: 1, maxLength: 64 }), (pages) => {
        const { inflate, bytes, ram } = setUp(BALLOON_QUEUE.INFLATE);
        inflate(pages);
        const gone = new Set(pages);
        for (let page = 0; page < RAM_PAGES; page++)
          expect(bytes[page * BALLOON_PAGE_BYTES]).toBe(gone.has(page) ? 0 : 0xaa);
        ram.close();
      }),
      { numRuns: 30 },
    );
  });

  it.each([[[RAM_PAGES]], [[1, 0xffff_ffff]], [[RAM_PAGES - 1, RAM_PAGES, 5]]])(
    "and that are not RAM (%j) are a fault of the driver's",
    (pages) => {
      const { inflate, test } = setUp(BALLOON_QUEUE.INFLATE);
      inflate(pages);
      expect(test.status & STATUS.DEVICE_NEEDS_RESET).not.toBe(0);
      expect(test.faults).toEqual([expect.stringMatching(/^page 0x.*, which is not RAM$/)]);
    },
  );

  it("come in whole numbers, and not too many", () => {
    for (const length of [6, 4 * (MOST_PAGES + 1)]) {
      const { queue, test } = setUp(BALLOON_QUEUE.INFLATE);
      queue.offer([{ gpa: PFNS, length: Math.min(length, 0x4_0000), writable: false }, ...extra(length)]);
      test.server.serve(BALLOON_QUEUE.INFLATE);
      expect(test.faults).toEqual([`an array of pages of ${length} bytes`]);
    }
  });

  it("take nothing to deflate", () => {
    const { queue, test, blocks } = setUp(BALLOON_QUEUE.DEFLATE);
    queue.offer([{ gpa: PFNS, length: 8, writable: false }]);
    test.server.serve(BALLOON_QUEUE.DEFLATE);
    expect(queue.collect()).toHaveLength(1);
    expect(blocks()).toBe(RAM_BYTES);
  });
});

const extra = (length: number) =>
  length > 0x4_0000 ? [{ gpa: PFNS, length: length - 0x4_0000, writable: false }] : [];

describe("free pages that the driver reports", () => {
  it.each([BALLOON_QUEUE.REPORTING, BALLOON_QUEUE.REPORTING_WITHOUT_GAP])("are given back, by queue %d", (index) => {
    const { backend, ram, blocks, bytes } = setUp(index);
    const chain = { head: 0, readable: [], writable: [ram.view(0x1_0000, 0x8000), ram.view(0x4_0800, 0x1000)] };
    expect(backend.handle(index, chain)).toBe(0);
    // Of the second buffer no page is whole.
    expect(blocks()).toBe(RAM_BYTES - 0x8000);
    expect(bytes[0x4_0800]).toBe(0xaa);
  });
});

describe("statistics", () => {
  const STATS = 0x4000;
  function offer({ rings, queue, test }: ReturnType<typeof setUp>, freeBytes: number): void {
    rings.view.setUint16(STATS, 4, true);
    rings.view.setBigUint64(STATS + 2, BigInt(freeBytes), true);
    queue.offer([{ gpa: STATS, length: 10, writable: false }]);
    test.server.deliver();
  }

  it("are kept until somebody asks, and then come anew", () => {
    const all = setUp(BALLOON_QUEUE.STATS);
    const { stats, queue, ask, test } = all;
    offer(all, 1000);
    expect(stats).toEqual([{ freeBytes: 1000 }]);
    expect(queue.collect()).toHaveLength(0);
    ask.signal();
    test.server.deliver();
    expect(queue.collect()).toHaveLength(1);
    offer(all, 2000);
    expect(stats.at(-1)).toEqual({ freeBytes: 2000 });
    expect(queue.collect()).toHaveLength(0);
  });

  it("of a queue that was reset are forgotten", () => {
    const all = setUp(BALLOON_QUEUE.STATS);
    offer(all, 1000);
    const queue = new TestDriverQueue(all.rings, 16, 0x1000);
    all.rings.bytes.fill(0, 0x1000, 0x2000);
    all.test.start(queue, { index: BALLOON_QUEUE.STATS });
    all.ask.signal();
    all.test.server.deliver();
    expect(queue.usedIdx).toBe(0);
    // Whoever asked waits for what comes after this.
    offer({ ...all, queue }, 3000);
    expect(queue.collect()).toHaveLength(1);
    offer({ ...all, queue }, 4000);
    expect(all.stats).toEqual([{ freeBytes: 1000 }, { freeBytes: 4000 }]);
    expect(all.test.faults).toEqual([]);
  });

  it("twice at once are a fault", () => {
    const all = setUp(BALLOON_QUEUE.STATS);
    offer(all, 1);
    offer(all, 2);
    expect(all.test.faults).toEqual(["two buffers of statistics at once"]);
  });

  it("are read from any bytes without complaint", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
        for (const value of Object.values(parseStats(bytes))) expect(Number.isSafeInteger(value)).toBe(true);
      }),
    );
  });
});

describe("the configuration space", () => {
  it("has a target that drivers cannot write and resets leave alone, and an actual size that they can", () => {
    const { test } = setUp(BALLOON_QUEUE.INFLATE);
    const { registers } = test;
    registers.setConfig(BALLOON_CONFIG.NUM_PAGES, 7, 4);
    registers.setConfig(BALLOON_CONFIG.ACTUAL, 0x1234_5678, 4);
    registers.setConfig(BALLOON_CONFIG.SIZE_BYTES, 7, 4);
    expect([0, 4, 8].map((offset) => registers.config(offset, 4))).toEqual([256, 0x1234_5678, 0]);
    setBalloonTarget(test.state.config, 2 ** 16);
    registers.status = 0;
    expect(balloonSize(test.state.config)).toEqual({ targetBytes: 2 ** 16, actualBytes: 0 });
  });

  it("offers what a balloon can do", () => {
    const { features } = balloonDevice({ name: "virtio-balloon0", sizeBytes: 0 });
    expect(features).toEqual([1, 2, 5]);
    expect(features).toContain(BALLOON_FEATURE.PAGE_REPORTING);
  });
});
