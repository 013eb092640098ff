/** The loop of an I/O Worker, with real eventfds: each queue has its turn, and nothing that is notified of is missed. */
import { EventFd, monotonicNs } from "@tools-kvm/kvm-binding";
import { expect, it } from "vitest";
import type { VirtioBackend } from "../virtio/device.js";
import { RateLimit } from "../virtio/rate-limit.js";
import { TestDevice, TestDriverQueue, TestMemory } from "../virtio/testing.js";
import { IoLoop } from "./io-loop.js";

const SIZE = 16;
const BUFFER = { gpa: 0x8000, length: 1, writable: true };

/** Runs a loop over one queue until `handle` has stopped it. */
function run(handle: (queue: TestDriverQueue, stop: () => void, kick: () => void) => void, limit?: RateLimit) {
  const memory = new TestMemory(0x2_0000);
  const queue = new TestDriverQueue(memory, SIZE, 0x1000);
  using kick = EventFd.create();
  using stop = EventFd.create();
  const backend: VirtioBackend = {
    handle: () => {
      handle(
        queue,
        () => stop.signal(),
        () => kick.signal(),
      );
      return 1;
    },
    limit,
    close() {},
  };
  const device = { name: "test", deviceId: 4, features: [], queueSizes: [SIZE], config: new Uint8Array(0) };
  const test = new TestDevice(device, backend, memory);
  test.start(queue);
  queue.offer([BUFFER]);
  kick.signal();
  new IoLoop({ server: test.server, backend, kicks: [kick], stop, nowNs: monotonicNs }).run();
  return queue;
}

it("raises an interrupt line again when it has gone down with something left to say", () => {
  using lowered = EventFd.create();
  using raise = EventFd.create();
  using stop = EventFd.create();
  const memory = new TestMemory(0x1000);
  const backend: VirtioBackend = { handle: () => 0, close() {} };
  const device = { name: "test", deviceId: 4, features: [], queueSizes: [SIZE], config: new Uint8Array(0) };
  const { server } = new TestDevice(device, backend, memory);
  let times = 0;
  const again = (): void => {
    raise.signal();
    if (++times === 3) stop.signal();
    else lowered.signal();
  };
  lowered.signal();
  new IoLoop({ server, backend, kicks: [], line: { lowered, again }, stop, nowNs: monotonicNs }).run();
  expect(Number(raise.take())).toBe(3);
});

it("hears what an ended machine's guest has said last, as long as the host's side comes after it", () => {
  using stop = EventFd.create();
  using host = EventFd.create();
  const memory = new TestMemory(0x1000);
  let behind = 3;
  const attendant = {
    fd: host.fd,
    get isBehind() {
      return behind > 0;
    },
    attend: () => void behind--,
  };
  const device = { name: "test", deviceId: 4, features: [], queueSizes: [SIZE], config: new Uint8Array(0) };
  const run = (nowNs: () => number): void => {
    const backend: VirtioBackend = { handle: () => 0, attendant, close() {} };
    const { server } = new TestDevice(device, backend, memory);
    stop.signal();
    new IoLoop({ server, backend, kicks: [], stop, nowNs }).run();
    stop.take();
  };
  run(monotonicNs);
  expect(behind).toBe(0);
  // A reader that has stopped for good is not waited for.
  behind = 1000;
  let clockNs = 0;
  run(() => (clockNs += 4e8));
  expect(behind).toBeGreaterThan(990);
});

it("ends although a queue never runs dry", () => {
  let handled = 0;
  run((queue, stop) => {
    handled++;
    queue.offer([BUFFER]);
    if (handled === 1000) stop();
  });
  expect(handled).toBeGreaterThanOrEqual(1000);
});

it("serves a driver that notifies when it is asked to, and only then", () => {
  let handled = 0;
  const queue = run((driver, stop, kick) => {
    handled++;
    driver.collect();
    if (handled === 500) return stop();
    driver.offer([BUFFER]);
    if (driver.mustNotify(true)) kick();
  });
  expect(handled).toBe(500);
  expect(queue.collect()).toHaveLength(1);
});

it("is no quicker than its limit, and gets there", () => {
  const limit = new RateLimit({ operationsPerSecond: 200, burstSeconds: 0.01 }, monotonicNs);
  const start = monotonicNs();
  let handled = 0;
  run((queue, stop) => {
    handled++;
    limit.charge(0);
    queue.offer([BUFFER]);
    if (handled === 12) stop();
  }, limit);
  expect(handled).toBeGreaterThanOrEqual(12);
  expect(monotonicNs() - start).toBeGreaterThanOrEqual(9 * 5e6);
});

it("holds what comes from outside back until its limit lets it through", () => {
  const memory = new TestMemory(0x2_0000);
  const queue = new TestDriverQueue(memory, SIZE, 0x1000);
  const limit = new RateLimit({ operationsPerSecond: 200, burstSeconds: 0.01 }, monotonicNs);
  using kick = EventFd.create();
  using stop = EventFd.create();
  using source = EventFd.create();
  let delivered = 0;
  const backend: VirtioBackend = {
    handle: () => 0,
    input: {
      queueIndex: 0,
      fd: source.fd,
      limit,
      deliver: (receive) => {
        while (limit.waitNs() === 0) {
          receive.complete(receive.next()!, 1);
          limit.charge(1);
          delivered++;
          if (delivered === 12) stop.signal();
        }
        return "empty";
      },
    },
    close() {},
  };
  const device = { name: "test", deviceId: 4, features: [], queueSizes: [SIZE], config: new Uint8Array(0) };
  const test = new TestDevice(device, backend, memory);
  test.start(queue);
  for (let i = 0; i < SIZE; i++) queue.offer([BUFFER]);
  source.signal();
  kick.signal();
  const start = monotonicNs();
  new IoLoop({ server: test.server, backend, kicks: [kick], stop, nowNs: monotonicNs }).run();
  expect(delivered).toBe(12);
  expect(monotonicNs() - start).toBeGreaterThanOrEqual(9 * 5e6);
});
