/** The register file of virtio over MMIO, as a driver goes through it (virtio 1.2, sections 3.1.1 and 4.2). */
import { describe, expect, it } from "vitest";
import { exercise } from "../devices/testing.js";
import { blockDevice } from "./devices/block/block.js";
import { FEATURE, INTERRUPT } from "./ids.js";
import { TestDevice, TestDriverQueue, TestMemory } from "./testing.js";
import type { MmioRegisters } from "./testing-registers.js";
import { holdQueues, releaseQueues, SHARED } from "./transport.js";
import { MMIO, MMIO_SIZE_BYTES, virtioMmio } from "./transport-mmio.js";

const device = blockDevice({ name: "virtio-blk0", sizeBytes: 2 ** 20, readonly: false, queues: 2 });

function setUp() {
  const memory = new TestMemory(0x2_0000);
  const queue = new TestDriverQueue(memory, 16, 0x1000);
  const handled: number[] = [];
  const backend = { handle: (index: number) => handled.push(index), close() {} };
  const test = new TestDevice(device, backend, memory);
  return { test, bench: (test.registers as MmioRegisters).bench, queue, handled, memory };
}

describe("the registers", () => {
  it("say what the device is", () => {
    const { bench } = setUp();
    expect(bench.read(MMIO.MAGIC_VALUE, 4)).toBe(0x74726976);
    expect(bench.read(MMIO.VERSION, 4)).toBe(2);
    expect(bench.read(MMIO.DEVICE_ID, 4)).toBe(2);
    expect(bench.read(MMIO.QUEUE_SIZE_MAX, 4)).toBe(256);
    bench.write(MMIO.QUEUE_SEL, 2, 4);
    expect(bench.read(MMIO.QUEUE_SIZE_MAX, 4)).toBe(0); // there is no third queue
  });

  it("give the configuration space by accesses of any width", () => {
    const { bench } = setUp();
    expect(bench.read(MMIO.CONFIG, 4)).toBe(2 ** 20 / 512);
    expect(bench.read(MMIO.CONFIG + 34, 2)).toBe(2);
    expect(bench.read(MMIO.CONFIG + 34, 1)).toBe(2);
    expect(bench.read(MMIO.CONFIG + 0x200, 4)).toBe(0);
  });

  it("survive whatever a guest does", () =>
    exercise(virtioMmio(device), MMIO_SIZE_BYTES, { survivesReset: ["shared"] }));
});

describe("a kick", () => {
  const buffer = { gpa: 0x8000, length: 8, writable: true };

  it("is served once the driver is ready, with an interrupt that it can see and acknowledge", () => {
    const { test, bench, queue, handled } = setUp();
    queue.offer([buffer]);
    test.server.serve(0);
    expect(handled).toEqual([]); // no DRIVER_OK yet
    test.start(queue, { without: [FEATURE.RING_EVENT_IDX] });
    test.server.serve(0);
    test.server.serve(1); // not set up
    expect({ handled, interrupts: test.interrupts }).toEqual({ handled: [0], interrupts: 1 });
    expect(bench.read(MMIO.INTERRUPT_STATUS, 4)).toBe(INTERRUPT.USED_BUFFER);
    bench.write(MMIO.INTERRUPT_ACK, INTERRUPT.USED_BUFFER, 4);
    expect(bench.read(MMIO.INTERRUPT_STATUS, 4)).toBe(0);
  });

  it("is given up between two chains when the driver takes its queue away", () => {
    const memory = new TestMemory(0x2_0000);
    const queue = new TestDriverQueue(memory, 16, 0x1000);
    let handled = 0;
    const test: TestDevice = new TestDevice(
      device,
      {
        handle() {
          handled++;
          return Atomics.add(test.state.shared, SHARED.EPOCH, 1) && 0; // what a reset does first
        },
        close() {},
      },
      memory,
    );
    test.start(queue);
    queue.offer([buffer]);
    queue.offer([buffer]);
    test.server.serve(0);
    expect(handled).toBe(1);
    expect(test.interrupts).toBe(0);
  });
});

it("a reset waits until the queues are left", async () => {
  const { test, bench } = setUp();
  holdQueues(test.state.shared);
  const waiting = Atomics.load(test.state.shared, SHARED.BUSY);
  releaseQueues(test.state.shared);
  expect([waiting, Atomics.load(test.state.shared, SHARED.BUSY)]).toEqual([1, 0]);
  bench.write(MMIO.STATUS, 0, 4); // would wait for ever
  expect(test.status).toBe(0);
});
