import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Stat } from "./stat.js";

const times = fc.array(fc.oneof(fc.nat({ max: 2000 }), fc.nat({ max: 2 ** 31 - 1 })), { minLength: 1, maxLength: 300 });

function statOf(values: readonly number[]): Stat {
  const stat = new Stat();
  for (const value of values) stat.add(value);
  return stat;
}

/** The value that `p` per cent of the sorted values do not exceed. */
function exactPercentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((p / 100) * sorted.length) - 1)]!;
}

describe("a stat of times", () => {
  it("knows count, sum and extremes exactly, and percentiles within 1%", () => {
    fc.assert(
      fc.property(times, fc.constantFrom(1, 50, 90, 99, 100), (values, p) => {
        const stat = statOf(values);
        expect(stat.count).toBe(values.length);
        expect(stat.sumNs).toBe(values.reduce((a, b) => a + b));
        expect([stat.minNs, stat.maxNs]).toEqual([Math.min(...values), Math.max(...values)]);
        const exact = exactPercentile(values, p);
        expect(Math.abs(stat.percentileNs(p) - exact)).toBeLessThanOrEqual(Math.max(1, exact * 0.01));
      }),
    );
  });

  it("is the same whether times are counted together or merged", () => {
    fc.assert(
      fc.property(times, times, (a, b) => {
        const merged = statOf(a);
        merged.merge(statOf(b));
        expect(merged).toEqual(statOf([...a, ...b]));
      }),
    );
  });

  it("is as new after it was cleared", () => {
    const stat = statOf([1, 2, 3]);
    stat.clear();
    expect(stat).toEqual(new Stat());
    expect(stat.avgNs).toBe(0);
  });

  it("counts by octave: 0 and 1 ns first, and all of them", () => {
    const stat = new Stat();
    for (const ns of [0, 1, 2, 3, 4, 1023, 1024, 2 ** 30, 2 ** 40]) stat.add(ns);
    const octaves = stat.octaves();
    expect(octaves.slice(0, 3)).toEqual([2, 2, 1]);
    expect([octaves[9], octaves[10], octaves[30]]).toEqual([1, 1, 1]);
    expect(octaves.reduce((a, b) => a + b)).toBe(9);
    expect(new Stat().octaves()).toEqual([]);
  });
});
