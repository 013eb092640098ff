/** The loop of an I/O Worker, with real eventfds: each queue has its turn, and nothing that is notified of is missed. */
import { EventFd, monotonicNs } from "@tools-kvm/kvm-binding";
import { expect, it } from "vitest";
import type { VirtioBackend } from "../virtio/device.js";
import { TestDevice, TestDriverQueue, TestMemory } from "../virtio/testing.js";
import { IoLoop } from "./io-loop.js";

const SIZE = 16;
const BUFFER = { gpa: 0x8000, length: 1, writable: true };

/** Runs a loop over one queue until `handle` has stopped it. */
function run(handle: (queue: TestDriverQueue, stop: () => void, kick: () => void) => void) {
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
    close() {},
  };
  const device = { name: "test", deviceId: 4, features: [], queueSizes: [SIZE], config: new Uint8Array(0) };
  const test = new TestDevice(device, backend, memory);
  test.start(queue);
  queue.offer([BUFFER]);
  kick.signal();
  new IoLoop({ server: test.server, input: undefined, kicks: [kick], stop, nowNs: monotonicNs }).run();
  return queue;
}

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
