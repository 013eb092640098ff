import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { native } from "../load-native.js";
import { BUCKET_COUNT, bucketLowNs, bucketMiddleNs, bucketOf, percentileNs } from "./histogram.js";

describe("the ledger's histogram", () => {
  it("has a bucket a nanosecond below 64 and 64 an octave above", () => {
    expect([0, 1, 63, 64, 65, 127, 128, 129, 130, 255, 256].map(bucketOf)).toEqual([
      0, 1, 63, 64, 65, 127, 128, 128, 129, 191, 192,
    ]);
    expect(bucketOf(2 ** 36 - 1)).toBe(BUCKET_COUNT - 1);
    expect(bucketOf(2 ** 36)).toBe(BUCKET_COUNT - 1);
    expect(bucketOf(2 ** 52)).toBe(BUCKET_COUNT - 1);
    expect(BUCKET_COUNT).toBe(1984);
  });

  it("is the same function in TypeScript and in C++", () => {
    for (let octave = 0; octave < 40; octave++) {
      for (const nudge of [-1, 0, 1])
        expect(native.ledgerBucket(Math.max(0, 2 ** octave + nudge))).toBe(bucketOf(Math.max(0, 2 ** octave + nudge)));
    }
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 40 }), fc.double({ min: 0, max: 1, noNaN: true }), (octave, fraction) => {
        const ns = Math.floor(2 ** octave * (1 + fraction));
        expect(native.ledgerBucket(ns)).toBe(bucketOf(ns));
      }),
      { numRuns: 5_000 },
    );
    expect(native.ledgerBucket(2n ** 64n - 1n)).toBe(BUCKET_COUNT - 1);
  });

  it("puts every time into the bucket whose bounds hold it, and its middle within 0.8%", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 36 - 1 }), (ns) => {
        const bucket = bucketOf(ns);
        expect(bucketLowNs(bucket)).toBeLessThanOrEqual(ns);
        if (bucket + 1 < BUCKET_COUNT) expect(bucketLowNs(bucket + 1)).toBeGreaterThan(ns);
        expect(Math.abs(bucketMiddleNs(bucket) - ns)).toBeLessThanOrEqual(ns * 0.008);
      }),
      { numRuns: 5_000 },
    );
  });

  it("knows its percentiles", () => {
    const buckets = new Float64Array(BUCKET_COUNT);
    expect(percentileNs(buckets, 50)).toBe(0);
    for (let ns = 1; ns <= 100; ns++) buckets[bucketOf(ns)]! += 1;
    expect(percentileNs(buckets, 50)).toBe(50);
    expect(percentileNs(buckets, 0)).toBe(1);
    expect(percentileNs(buckets, 100)).toBeCloseTo(100, 0);
    expect(percentileNs(buckets, 1000)).toBe(percentileNs(buckets, 100));
  });

  it("has percentiles within 0.8% of those of the times themselves", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 2 ** 34 }), { minLength: 1, maxLength: 300 }),
        fc.integer({ min: 1, max: 100 }),
        (times, p) => {
          const buckets = new Float64Array(BUCKET_COUNT);
          for (const ns of times) buckets[bucketOf(ns)]! += 1;
          const exact = times.toSorted((a, b) => a - b)[Math.ceil((p / 100) * times.length) - 1]!;
          expect(Math.abs(percentileNs(buckets, p) - exact)).toBeLessThanOrEqual(exact * 0.008);
        },
      ),
    );
  });
});
