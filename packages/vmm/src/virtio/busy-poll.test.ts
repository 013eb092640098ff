/** How long a device's thread looks before it sleeps, by a clock that the test turns. */
import { expect, it } from "vitest";
import { BusyPoll, MOST_POLL_NS } from "./busy-poll.js";

function setUp() {
  const clock = { ns: 1e9 };
  const poll = new BusyPoll(() => clock.ns);
  /** Looks every microsecond until the thread would sleep: how long that was. */
  const lookFor = (): number => {
    const start = clock.ns;
    while (poll.looksAgain()) clock.ns += 1_000;
    return clock.ns - start;
  };
  /** Something comes after `gapNs` of sleep. */
  const wakeAfter = (gapNs: number): void => {
    clock.ns += gapNs;
    poll.woke();
  };
  return { poll, lookFor, wakeAfter };
}

it("looks longer while requests come shortly after it has gone to sleep, up to a limit", () => {
  const { lookFor, wakeAfter } = setUp();
  const windows = Array.from({ length: 6 }, () => {
    wakeAfter(10_000);
    return lookFor();
  });
  expect(windows).toEqual([0, 8_000, 16_000, 32_000, MOST_POLL_NS, MOST_POLL_NS]);
});

it("looks for nothing only a few times, and then not at all", () => {
  const { lookFor, wakeAfter } = setUp();
  for (let i = 0; i < 9; i++) {
    wakeAfter(10_000);
    lookFor();
  }
  const windows = Array.from({ length: 6 }, () => {
    wakeAfter(1e9);
    return lookFor();
  });
  expect(windows).toEqual([32_000, 16_000, 8_000, 0, 0, 0]);
});

it("looks for a whole window after there was something to do", () => {
  const { poll, lookFor, wakeAfter } = setUp();
  wakeAfter(1e9);
  lookFor();
  wakeAfter(1_000);
  expect(lookFor()).toBe(8_000);
  poll.worked();
  expect(lookFor()).toBe(8_000);
});
