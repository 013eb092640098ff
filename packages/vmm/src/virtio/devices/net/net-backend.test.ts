/** Frames through the network device, whatever buffers the driver leaves for them (virtio 1.2, section 5.1.6). */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { STATUS } from "../../ids.js";
import { RateLimit } from "../../rate-limit.js";
import { TestDevice, TestDriverQueue, TestMemory } from "../../testing.js";
import type { FrameLink, Offload } from "./frame-link.js";
import { HEADER_BYTES, NET_FEATURE, NUM_BUFFERS_OFFSET, netDevice, QUEUE } from "./net.js";
import { NetBackend } from "./net-backend.js";

class FakeLink implements FrameLink {
  readonly fd = -1;
  readonly sent: Uint8Array[] = [];
  readonly waiting: Uint8Array[] = [];
  readonly offloads: Offload[] = [];
  isGone = false;
  constructor(readonly hasHeader: boolean) {}

  read(into: Uint8Array): number {
    const frame = this.waiting.shift();
    if (frame === undefined) return this.isGone ? -1 : 0;
    into.set(frame);
    return frame.length;
  }
  readAll(into: Uint8Array, lengths: Int32Array): number {
    let [count, at] = [0, 0];
    while (count < Math.min(3, lengths.length)) {
      const length = this.read(into.subarray(at));
      if (length <= 0) return count === 0 ? length : count;
      lengths[count++] = length;
      at += length;
    }
    return count;
  }
  write(frame: Uint8Array): void {
    this.sent.push(frame.slice());
  }
  writeAll(frames: readonly Uint8Array[]): void {
    for (const frame of frames) this.write(frame);
  }
  setOffload(offload: Offload): void {
    this.offloads.push(offload);
  }
  close(): void {}
}

const DATA = 0x8000;
const mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

function setUp(queueIndex: number, { hasHeader = false, without = [] as readonly number[], size = 32 } = {}) {
  const memory = new TestMemory(0x8_0000);
  const queue = new TestDriverQueue(memory, size, 0x1000);
  const link = new FakeLink(hasHeader);
  let downs = 0;
  const backend = new NetBackend(link, () => downs++);
  const test = new TestDevice(netDevice({ name: "virtio-net0", mac, mtu: 1500, offloads: hasHeader }), backend, memory);
  test.start(queue, { index: queueIndex, without });
  const receiveBuffers = (lengths: readonly number[]) => {
    let at = DATA;
    for (const length of lengths) {
      queue.offer([{ gpa: at, length, writable: true }]);
      at += length;
    }
  };
  return { memory, queue, link, test, receiveBuffers, downs: () => downs };
}

const frame = fc.uint8Array({ minLength: 14, maxLength: 1514 });

describe("a frame that the driver sends", () => {
  it("is sent in its turn among others, whatever their pieces", () => {
    const some = fc.array(fc.record({ bytes: frame, cut: fc.option(fc.nat(20)) }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(some, fc.boolean(), (frames, hasHeader) => {
        const { memory, queue, link, test } = setUp(QUEUE.TRANSMIT, { hasHeader });
        frames.forEach(({ bytes, cut }, index) => {
          const at = DATA + 2048 * index;
          memory.bytes.set(bytes, at + HEADER_BYTES);
          const length = HEADER_BYTES + bytes.length;
          const first = cut === null ? length : Math.min(1 + cut, length - 1);
          queue.offer([
            { gpa: at, length: first, writable: false },
            ...(first < length ? [{ gpa: at + first, length: length - first, writable: false }] : []),
          ]);
        });
        expect(test.server.serve(QUEUE.TRANSMIT)).toBe(false);
        const skip = hasHeader ? HEADER_BYTES : 0;
        expect(link.sent.map((sent) => sent.subarray(skip))).toEqual(frames.map(({ bytes }) => bytes));
        expect(queue.collect()).toHaveLength(frames.length);
      }),
    );
  });

  it("reaches the link whole, however it is cut, with its header only where the link has one", () => {
    fc.assert(
      fc.property(frame, fc.array(fc.nat(1600), { maxLength: 4 }), fc.boolean(), (bytes, cuts, hasHeader) => {
        const { memory, queue, link, test } = setUp(QUEUE.TRANSMIT, { hasHeader });
        const packet = Uint8Array.from([...new Array(HEADER_BYTES).fill(7), ...bytes]);
        memory.bytes.set(packet, DATA);
        const ends = [...new Set([...cuts.map((cut) => cut % packet.length), packet.length])]
          .sort((a, b) => a - b)
          .filter((end) => end > 0);
        const buffers = ends.map((end, i) => ({
          gpa: DATA + (ends[i - 1] ?? 0),
          length: end - (ends[i - 1] ?? 0),
          writable: false,
        }));
        queue.offer(buffers);
        test.server.serve(QUEUE.TRANSMIT);
        expect(link.sent).toEqual([hasHeader ? packet : bytes]);
        expect(queue.collect()).toMatchObject([{ written: 0 }]);
      }),
      { numRuns: 60 },
    );
  });

  it("without a whole header is the driver's fault, and one that is too long is lost", () => {
    const { queue, link, test, memory } = setUp(QUEUE.TRANSMIT);
    queue.offer([{ gpa: DATA, length: 0x7_0000, writable: false }]);
    test.server.serve(QUEUE.TRANSMIT);
    expect({ sent: link.sent.length, back: queue.collect().length }).toEqual({ sent: 0, back: 1 });
    queue.offer([{ gpa: DATA, length: HEADER_BYTES - 1, writable: false }]);
    test.server.serve(QUEUE.TRANSMIT);
    expect(test.status & STATUS.DEVICE_NEEDS_RESET).not.toBe(0);
    expect(memory.isGuardIntact).toBe(true);
  });
});

describe("a frame that arrives", () => {
  it("fills as many buffers as it needs when they can be merged, and says how many", () => {
    fc.assert(
      fc.property(
        fc.array(frame, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 200, max: 2000 }),
        (frames, length) => {
          const { memory, queue, link, test, receiveBuffers } = setUp(QUEUE.RECEIVE);
          receiveBuffers(new Array(32).fill(length));
          link.waiting.push(...frames);
          expect(test.server.deliver()).toBe(true);
          const used = queue.collect();
          for (const bytes of frames) {
            const first = used[0]!;
            const count = memory.view.getUint16(DATA + first.head * length + NUM_BUFFERS_OFFSET, true);
            const parts = used
              .splice(0, count)
              .map(({ head, written }) => memory.bytes.slice(DATA + head * length, DATA + head * length + written));
            expect(Buffer.concat(parts).subarray(HEADER_BYTES)).toEqual(Buffer.from(bytes));
          }
          expect(used).toEqual([]);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("waits for buffers when there are too few, and is lost when it fits no single one", () => {
    const merged = setUp(QUEUE.RECEIVE);
    merged.link.waiting.push(new Uint8Array(1000).fill(3));
    merged.receiveBuffers([500]);
    expect(merged.test.server.deliver()).toBe(false); // not worth polling for
    expect(merged.queue.collect()).toEqual([]);
    merged.queue.offer([{ gpa: DATA + 500, length: 600, writable: true }]);
    expect(merged.test.server.deliver()).toBe(true);
    expect(merged.queue.collect()).toMatchObject([{ written: 500 }, { written: 512 }]);

    const single = setUp(QUEUE.RECEIVE, { without: [NET_FEATURE.MRG_RXBUF] });
    single.link.waiting.push(new Uint8Array(1000), new Uint8Array(100));
    single.receiveBuffers([500, 500]);
    expect(single.test.server.deliver()).toBe(true);
    expect(single.queue.collect()).toMatchObject([{ written: 0 }, { written: 100 + HEADER_BYTES }]);
  });

  it("is waited for only when the driver is there", () => {
    const { test, link } = setUp(QUEUE.RECEIVE);
    link.waiting.push(new Uint8Array(60));
    test.registers.status = 0;
    expect(test.server.deliver()).toBe(false);
    expect(link.waiting).toHaveLength(1);
  });
});

it("a link that is gone is down for the driver, once", () => {
  const { test, link, downs } = setUp(QUEUE.RECEIVE);
  const up = () => test.registers.config(6, 2);
  expect(up()).toBe(1);
  link.isGone = true;
  expect(test.server.deliver()).toBe(false);
  expect([up(), downs(), test.registers.configGeneration, test.interrupts]).toEqual([0, 1, 1, 1]);
  test.server.deliver();
  expect(downs()).toBe(1);
});

it("the link is told what the driver takes of checksums and segments", () => {
  const all = setUp(QUEUE.RECEIVE, { hasHeader: true });
  all.test.server.deliver();
  all.test.server.deliver();
  expect(all.link.offloads).toEqual([{ checksum: true, tso4: true, tso6: true }]);
  const some = setUp(QUEUE.RECEIVE, { hasHeader: true, without: [NET_FEATURE.GUEST_TSO6] });
  some.test.server.deliver();
  expect(some.link.offloads).toEqual([{ checksum: true, tso4: true, tso6: false }]);
});

describe("a limit", () => {
  it("counts a frame's own bytes in either direction, and holds frames back that have come", () => {
    const clock = { ns: 1e9 };
    const limit = () => new RateLimit({ bytesPerSecond: 1000, burstSeconds: 0.1 }, () => clock.ns);
    const [send, receive] = [limit(), limit()];
    const link = new FakeLink(false);
    const backend = new NetBackend(link, () => {}, { send, receive });
    const memory = new TestMemory(0x8_0000);
    const queue = new TestDriverQueue(memory, 32, 0x1000);
    const test = new TestDevice(netDevice({ name: "virtio-net0", mac, mtu: 1500, offloads: false }), backend, memory);
    test.start(queue, { index: QUEUE.RECEIVE });
    for (let i = 0; i < 8; i++) queue.offer([{ gpa: DATA + 2048 * i, length: 2048, writable: true }]);
    for (let i = 0; i < 5; i++) link.waiting.push(new Uint8Array(60));
    test.server.deliver();
    expect(queue.collect()).toHaveLength(2);
    expect(receive.waitNs()).toBe(21e6);
    clock.ns += 1e9;
    test.server.deliver();
    expect(queue.collect()).toHaveLength(2);
    backend.handle(
      QUEUE.TRANSMIT,
      { head: 0, readable: [new Uint8Array(HEADER_BYTES + 600)], writable: [] },
      { has: () => false },
    );
    expect(send.waitNs()).toBe(501e6);
  });
});
