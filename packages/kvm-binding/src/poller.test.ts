import { closeSync, openSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { EventFd, KvmError, POLLHUP, POLLIN, POLLOUT, Poller, UnixSocket } from "./index.js";
import { inWorker, nextMessage } from "./testing.js";

describe("a poller", () => {
  it("says which of its descriptors are ready, by key, until they are taken", () => {
    using poller = new Poller();
    using one = EventFd.create();
    using two = EventFd.create();
    poller.add(one, 1);
    poller.add(two, -2);
    expect(poller.wait(0)).toBe(0);
    two.signal();
    expect(poller.wait(0)).toBe(1);
    expect([poller.readyKeys[0], poller.readyEvents[0]]).toEqual([-2, POLLIN]);
    one.signal();
    expect(poller.wait(-1)).toBe(2);
    expect([...poller.readyKeys.subarray(0, 2)].sort()).toEqual([-2, 1]);
    two.take();
    poller.remove(one);
    expect(poller.wait(0)).toBe(0);
    expect(() => poller.remove(one)).toThrow(/ENOENT/);
  });

  it("waits no longer than it is told", () => {
    using poller = Poller.create();
    const started = performance.now();
    expect(poller.wait(30)).toBe(0);
    expect(performance.now() - started).toBeGreaterThanOrEqual(29);
  });

  it("waits for other events, and can change its mind", () => {
    using poller = new Poller();
    const [here, there] = UnixSocket.pair();
    poller.add(here, 7, POLLOUT);
    expect(poller.wait(0)).toBe(1);
    expect(poller.readyEvents[0]).toBe(POLLOUT);
    poller.modify(here, 8, POLLIN);
    expect(poller.wait(0)).toBe(0);
    there.close();
    expect(poller.wait(0)).toBe(1);
    expect(poller.readyKeys[0]).toBe(8);
    expect(poller.readyEvents[0]! & POLLHUP).toBe(POLLHUP);
    here.close();
  });

  it("reports no more than its capacity at once, and the rest next time", () => {
    using poller = new Poller({ capacity: 2 });
    const eventfds = Array.from({ length: 5 }, () => EventFd.create());
    eventfds.forEach((e, key) => {
      poller.add(e, key);
      e.signal();
    });
    const seen = new Set<number>();
    for (let round = 0; round < 5; round++) {
      const n = poller.wait(0);
      expect(n).toBe(2);
      for (const key of poller.readyKeys.subarray(0, n)) seen.add(key);
    }
    expect(seen.size).toBe(5);
    for (const e of eventfds) e.close();
    expect(() => new Poller({ capacity: 0 })).toThrow(KvmError);
    expect(() => new Poller({ capacity: 5000 })).toThrow(KvmError);
  });

  it("refuses plain files, strangers and wrong keys", () => {
    using poller = new Poller();
    using eventfd = EventFd.create();
    const file = openSync("/etc/passwd", "r");
    expect(() => poller.add({ fd: file }, 0)).toThrow(/EPERM/);
    closeSync(file);
    expect(() => poller.add({ fd: file }, 0)).toThrow(/EBADF/);
    expect(() => poller.add(eventfd, 2 ** 31)).toThrow(KvmError);
    poller.add(eventfd, 0);
    expect(() => poller.add(eventfd, 1)).toThrow(/EEXIST/);
    expect(() => poller.wait(1e12)).toThrow(KvmError);
  });

  it("wakes a Worker that waits in it", async () => {
    using eventfd = EventFd.create();
    const worker = inWorker(
      "const e = b.EventFd.attach(data), p = new b.Poller(); p.add(e, 3); post('waiting'); const n = p.wait(-1); post([n, p.readyKeys[0], e.take()]); p.close(); e.close();",
      eventfd.share(),
    );
    expect(await nextMessage(worker)).toBe("waiting");
    const answer = nextMessage(worker);
    eventfd.signal(9);
    expect(await answer).toEqual([1, 3, 9]);
  });
});
