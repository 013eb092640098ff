/** How queues are served: in turns, with interrupts that come in time, and never against a reset or a pause. */
import { describe, expect, it } from "vitest";
import type { VirtioBackend } from "./device.js";
import { FEATURE, INTERRUPT, STATUS } from "./ids.js";
import { RateLimit } from "./rate-limit.js";
import { CHAINS_A_TURN } from "./server.js";
import { TestDevice, TestDriverQueue, TestMemory } from "./testing.js";

const DATA = 0x8000;
const SIZE = 16;
const BUFFER = { gpa: DATA, length: 1, writable: true };
const EVERY_INTERRUPT = { without: [FEATURE.RING_EVENT_IDX] };

function setUp(handle: (test: TestDevice, queue: TestDriverQueue) => number) {
  const memory = new TestMemory(0x2_0000);
  const queue = new TestDriverQueue(memory, SIZE, 0x1000);
  const backend: VirtioBackend = { handle: () => handle(test, queue), close() {} };
  const device = { name: "test", deviceId: 4, features: [], queueSizes: [SIZE], config: new Uint8Array(0) };
  const test = new TestDevice(device, backend, memory);
  return { test, queue };
}

describe("a queue", () => {
  it("that its driver never lets run dry has its turn, and then others have theirs", () => {
    let handled = 0;
    const { test, queue } = setUp((_test, driver) => {
      handled++;
      driver.offer([BUFFER]);
      return 1;
    });
    test.start(queue);
    queue.offer([BUFFER]);
    expect(test.server.serve(0)).toBe(true);
    expect(handled).toBe(CHAINS_A_TURN);
    expect(test.server.serve(0)).toBe(true);
    expect(handled).toBe(2 * CHAINS_A_TURN);
  });

  it("that runs dry is done with, and its driver will notify", () => {
    const { test, queue } = setUp(() => 1);
    test.start(queue);
    for (let i = 0; i < 3; i++) queue.offer([BUFFER]);
    expect(test.server.serve(0)).toBe(false);
    expect(queue.collect()).toHaveLength(3);
    queue.offer([BUFFER]);
    expect(queue.mustNotify(true)).toBe(true);
  });

  it("that is looked at anyway needs no notification until it is left alone", () => {
    const { test, queue } = setUp(() => 1);
    test.start(queue, EVERY_INTERRUPT);
    queue.offer([BUFFER]);
    expect(test.server.work(0)).toBe(true);
    expect(test.interrupts).toBe(1);
    queue.offer([BUFFER]);
    expect(queue.mustNotify(false)).toBe(false);
    expect(test.server.work(0)).toBe(true);
    expect(test.server.work(0)).toBe(false);
    expect(test.interrupts).toBe(2);
    expect(test.server.serve(0)).toBe(false);
    expect(queue.mustNotify(false)).toBe(true);
    expect(queue.collect()).toHaveLength(2);
  });

  it("that another thread resets meanwhile is left where it is", () => {
    const { test, queue } = setUp((device) => {
      // What a reset does before it waits for this thread.
      Atomics.store(device.state.shared, 0, 0);
      Atomics.add(device.state.shared, 2, 1);
      return 1;
    });
    test.start(queue);
    for (let i = 0; i < 3; i++) queue.offer([BUFFER]);
    expect(test.server.serve(0)).toBe(false);
    expect(queue.collect()).toHaveLength(1);
  });
});

describe("chains that a device handles together", () => {
  const together = (handleAll: NonNullable<VirtioBackend["handleAll"]>) => {
    const memory = new TestMemory(0x2_0000);
    const queue = new TestDriverQueue(memory, SIZE, 0x1000);
    const device = { name: "test", deviceId: 4, features: [], queueSizes: [SIZE], config: new Uint8Array(0) };
    const test = new TestDevice(device, { handle: () => 1, handleAll, close() {} }, memory);
    test.start(queue, EVERY_INTERRUPT);
    return { test, queue };
  };

  it("come back in the order in which they are done, with one interrupt", () => {
    const sizes: number[] = [];
    const { test, queue } = together((_queue, chains, _negotiated, done) => {
      sizes.push(chains.length);
      for (const chain of [...chains].reverse()) done(chain, chain.head);
    });
    const heads = Array.from({ length: 5 }, () => queue.offer([BUFFER]));
    expect(test.server.serve(0)).toBe(false);
    expect(queue.collect().map(({ head }) => head)).toEqual(heads.reverse());
    expect({ sizes, interrupts: test.interrupts }).toEqual({ sizes: [5], interrupts: 1 });
  });

  it("are handled although the next one breaks the rules", () => {
    const { test, queue } = together((_queue, chains, _negotiated, done) => {
      for (const chain of chains) done(chain, 1);
    });
    for (let i = 0; i < 3; i++) queue.offer([BUFFER]);
    queue.makeAvailable(SIZE);
    expect(test.server.serve(0)).toBe(false);
    expect(queue.collect()).toHaveLength(3);
    expect(test.faults).toEqual([`descriptor ${SIZE} of a table of ${SIZE}`]);
  });

  it("are no more than a turn's", () => {
    let [turns, most] = [0, 0];
    const { test, queue } = together((_queue, chains, _negotiated, done) => {
      most = Math.max(most, chains.length);
      turns += chains.length;
      for (const chain of chains) {
        done(chain, 1);
        queue.offer([BUFFER]);
      }
    });
    for (let i = 0; i < SIZE; i++) queue.offer([BUFFER]);
    expect(test.server.serve(0)).toBe(true);
    expect({ turns, most }).toEqual({ turns: CHAINS_A_TURN, most: SIZE });
  });
});

describe("a limit", () => {
  it("lets the rest of the queue wait, of which nobody need notify", () => {
    const memory = new TestMemory(0x2_0000);
    const queue = new TestDriverQueue(memory, SIZE, 0x1000);
    const clock = { ns: 1e9 };
    const limit = new RateLimit({ operationsPerSecond: 100, burstSeconds: 0.05 }, () => clock.ns);
    const handle = (): number => {
      limit.charge(0);
      return 1;
    };
    const device = { name: "test", deviceId: 4, features: [], queueSizes: [SIZE], config: new Uint8Array(0) };
    const test = new TestDevice(device, { handle, limit, close() {} }, memory);
    test.start(queue, EVERY_INTERRUPT);
    for (let i = 0; i < 8; i++) queue.offer([BUFFER]);
    expect(test.server.serve(0)).toBe(true);
    expect(queue.collect()).toHaveLength(5);
    queue.offer([BUFFER]);
    expect(queue.mustNotify(false)).toBe(false);
    expect(test.server.work(0)).toBe(true);
    expect(queue.collect()).toHaveLength(0);
    clock.ns += 0.02e9;
    expect(test.server.serve(0)).toBe(true);
    expect(queue.collect()).toHaveLength(2);
    clock.ns += 1e9;
    expect(test.server.serve(0)).toBe(false);
    expect(queue.collect()).toHaveLength(2);
    expect(queue.mustNotify(false)).toBe(true);
  });
});

describe("an interrupt", () => {
  it("is one for many requests that take no time", () => {
    const { test, queue } = setUp(() => 1);
    test.start(queue, EVERY_INTERRUPT);
    for (let i = 0; i < 8; i++) queue.offer([BUFFER]);
    test.server.serve(0);
    expect(test.interrupts).toBe(1);
  });

  it("comes soon after a request that took long, whatever still waits", () => {
    const seen: number[] = [];
    const { test, queue } = setUp((device) => {
      seen.push(device.interrupts);
      device.clockNs += 1_000_000;
      return 1;
    });
    test.start(queue, EVERY_INTERRUPT);
    for (let i = 0; i < 4; i++) queue.offer([BUFFER]);
    test.server.serve(0);
    expect(seen).toEqual([0, 1, 2, 3]);
    expect(test.interrupts).toBe(4);
    expect(test.registers.acknowledge()).toBe(INTERRUPT.USED_BUFFER);
  });
});

describe("the status", () => {
  it("keeps what the device has said, whatever its driver writes, until a reset", () => {
    const { test, queue } = setUp(() => 1);
    test.start(queue);
    queue.makeAvailable(SIZE);
    test.server.serve(0);
    expect(test.faults).toHaveLength(1);
    test.registers.status = STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FAILED;
    expect(test.status).toBe(STATUS.ACKNOWLEDGE | STATUS.DRIVER | STATUS.FAILED | STATUS.DEVICE_NEEDS_RESET);
    test.registers.status = 0;
    expect(test.status).toBe(0);
  });

  it("takes DEVICE_NEEDS_RESET from nobody but the device", () => {
    const { test } = setUp(() => 1);
    test.registers.status = STATUS.ACKNOWLEDGE | STATUS.DEVICE_NEEDS_RESET;
    expect(test.status).toBe(STATUS.ACKNOWLEDGE);
  });
});
