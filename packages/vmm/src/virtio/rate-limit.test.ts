/** Rate limits by a clock that the test turns. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RateLimit, type RateLimitSpec } from "./rate-limit.js";

const SECOND = 1e9;

function setUp(spec: RateLimitSpec) {
  const clock = { ns: 5 * SECOND };
  const limit = new RateLimit(spec, () => clock.ns);
  /** Operations of `bytes` that can be done one after the other now. */
  const doAll = (bytes: number): number => {
    let count = 0;
    for (; limit.waitNs() === 0 && count < 1e6; count++) limit.charge(bytes);
    return count;
  };
  return { clock, limit, doAll };
}

describe("a rate limit", () => {
  it("lets a burst go at once and then the rate", () => {
    const { clock, doAll } = setUp({ operationsPerSecond: 1000, burstSeconds: 0.25 });
    expect(doAll(0)).toBe(250);
    clock.ns += SECOND / 10;
    expect(doAll(0)).toBe(100);
    clock.ns += 60 * SECOND;
    expect(doAll(0)).toBe(250);
  });

  it("says how long to wait, and then the next may go", () => {
    const { clock, limit, doAll } = setUp({ operationsPerSecond: 10 });
    expect(doAll(0)).toBe(1);
    expect(limit.waitNs()).toBe(SECOND / 10);
    clock.ns += limit.waitNs();
    expect(doAll(0)).toBe(1);
  });

  it("does an operation that is larger than the bucket, and makes the next wait for it", () => {
    const { clock, limit } = setUp({ bytesPerSecond: 1000 });
    limit.charge(10_000);
    expect(limit.waitNs()).toBeGreaterThan(9.8 * SECOND);
    clock.ns += limit.waitNs();
    expect(limit.waitNs()).toBe(0);
  });

  it("waits for the scarcer of bytes and operations", () => {
    const { doAll } = setUp({ bytesPerSecond: 1e6, operationsPerSecond: 100, burstSeconds: 1 });
    expect(doAll(100)).toBe(100);
    const other = setUp({ bytesPerSecond: 1e6, operationsPerSecond: 100, burstSeconds: 1 });
    expect(other.doAll(100_000)).toBe(10);
  });

  it("is kept over any time, whatever comes when", () => {
    const step = fc.record({ gapNs: fc.nat(SECOND / 10), bytes: fc.nat(100_000) });
    const spec = fc.record({
      bytesPerSecond: fc.integer({ min: 1, max: 1e9 }),
      operationsPerSecond: fc.integer({ min: 1, max: 1e5 }),
      burstSeconds: fc.constantFrom(0, 0.1, 1),
    });
    fc.assert(
      fc.property(spec, fc.array(step, { maxLength: 200 }), (about, steps) => {
        const { clock, limit } = setUp(about);
        const start = clock.ns;
        let [bytes, operations, last] = [0, 0, 0];
        for (const each of steps) {
          clock.ns += each.gapNs;
          if (limit.waitNs() > 0) continue;
          limit.charge(each.bytes);
          bytes += each.bytes;
          operations++;
          last = each.bytes;
        }
        const seconds = (clock.ns - start) / SECOND + Math.max(0.005, about.burstSeconds);
        expect(operations).toBeLessThanOrEqual(about.operationsPerSecond * seconds + 1);
        // The last one may have gone on credit.
        expect(bytes - last).toBeLessThanOrEqual(about.bytesPerSecond * seconds + 1);
      }),
    );
  });
});
