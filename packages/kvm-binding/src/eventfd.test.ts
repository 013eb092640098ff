import { closeSync, openSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { EventFd, KvmError, monotonicNs } from "./index.js";

describe("an eventfd", () => {
  it("counts what was signalled until it is taken", () => {
    using eventfd = EventFd.create();
    expect(eventfd.take()).toBe(0);
    eventfd.signal();
    eventfd.signal(4);
    expect(eventfd.take()).toBe(5);
    expect(eventfd.take()).toBe(0);
  });

  it("gives one at a time as a semaphore", () => {
    using eventfd = EventFd.create({ semaphore: true });
    eventfd.signal(2);
    expect([eventfd.take(), eventfd.take(), eventfd.take()]).toEqual([1, 1, 0]);
  });

  it("stays full when it is full", () => {
    using eventfd = EventFd.create();
    eventfd.signal(Number.MAX_SAFE_INTEGER);
    for (let i = 0; i < 3000; i++) eventfd.signal(Number.MAX_SAFE_INTEGER);
    eventfd.signal();
    expect(eventfd.take()).toBeGreaterThan(2 ** 63);
  });

  it("refuses counts that are none", () => {
    using eventfd = EventFd.create();
    for (const n of [-1, 0.5, Number.NaN, Infinity, 2 ** 53]) expect(() => eventfd.signal(n)).toThrow(KvmError);
    expect(() => eventfd.signal("1" as never)).toThrow(TypeError);
    expect(() => eventfd.signal(null as never)).toThrow(TypeError);
  });

  it("adopts an eventfd of this process, and nothing else", () => {
    using eventfd = EventFd.create();
    using copy = EventFd.adopt(eventfd.fd);
    copy.signal(2);
    expect(eventfd.take()).toBe(2);
    const file = openSync("/dev/null", "r");
    expect(() => EventFd.adopt(file)).toThrow(/no eventfd/);
    closeSync(file);
    expect(() => EventFd.adopt(file)).toThrow(/EBADF/);
    expect(() => EventFd.adopt(-1)).toThrow(KvmError);
  });
});

it("monotonicNs goes on and is the clock of process.hrtime", () => {
  const before = Number(process.hrtime.bigint());
  const now = monotonicNs();
  expect(now).toBeGreaterThanOrEqual(before);
  expect(now).toBeLessThanOrEqual(Number(process.hrtime.bigint()));
});
