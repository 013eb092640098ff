import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { timeLine } from "../views/time-line.js";
import { addSplits, type TimeSources, timeSplit } from "./time-split.js";

const SECOND = 1e9;
const THREADS = {
  wallNs: SECOND,
  runNs: 0.8 * SECOND,
  queuedNs: 0.05 * SECOND,
  guestNs: 0.5 * SECOND,
  userNs: 0.1 * SECOND,
};
const splitOf = (sources: Partial<TimeSources>) => timeSplit("demo", 42, { threads: THREADS, ...sources });

describe("the time of vCPUs", () => {
  it("is told by the kernel's ticks and its scheduler when nothing knows more", () => {
    expect(splitOf({})).toEqual({
      machine: "demo",
      pid: 42,
      wallNs: SECOND,
      guestNs: 0.5 * SECOND,
      userNs: 0.1 * SECOND,
      deviceNs: null,
      asleepNs: expect.closeTo(0.15 * SECOND, -2),
      queuedNs: 0.05 * SECOND,
      pollingNs: 0,
      kernelNs: expect.closeTo(0.2 * SECOND, -2),
      guestFrom: "ticks",
      userFrom: "ticks",
    });
    expect(timeLine([splitOf({})])).toBe("guest ~50.0%, kernel ~20.0%, user space ~10.0%, asleep 15.0%, queued 5.0%");
  });

  it("is told by kvm_exit, the ledger and KVM's counters where they are, halt polling apart from the kernel's work", () => {
    const split = splitOf({
      traced: { guestNs: 0.6 * SECOND, polledNs: 1, sleptNs: 1 },
      ledger: { deviceNs: 0.02 * SECOND, otherNs: 0.03 * SECOND },
      counters: { halt_poll_success_ns: 0.01 * SECOND, halt_poll_fail_ns: 0.03 * SECOND, halt_wait_ns: SECOND },
    });
    expect(timeLine([split])).toBe(
      "guest 60.0%, kernel 11.0%, polling 4.0%, user space 3.0%, device 2.0%, asleep 15.0%, queued 5.0%",
    );
    const byTrace = splitOf({ traced: { guestNs: 0, polledNs: 0.1 * SECOND, sleptNs: 0 } });
    expect(byTrace.pollingNs).toBe(0.1 * SECOND);
  });

  it("adds up to what has passed, whatever the sources say", () => {
    const ns = fc.integer({ min: -1e9, max: 1e10 });
    const parts = fc.record({
      wallNs: fc.integer({ min: 1, max: 1e10 }),
      runNs: ns,
      queuedNs: ns,
      guestNs: ns,
      userNs: ns,
    });
    const optional = <Value>(of: fc.Arbitrary<Value>) => fc.option(of, { nil: undefined });
    const sources = fc.record({
      threads: parts,
      traced: optional(fc.record({ guestNs: ns, polledNs: ns, sleptNs: ns })),
      ledger: optional(fc.record({ deviceNs: ns, otherNs: ns })),
      counters: optional(fc.record({ halt_poll_success_ns: ns })),
    });
    fc.assert(
      fc.property(sources, sources, (one, other) => {
        const [a, b] = [timeSplit("a", 1, one), timeSplit("a", 1, other)];
        for (const split of [a, b, addSplits(a, b)]) {
          const { guestNs, kernelNs, pollingNs, userNs, deviceNs, asleepNs, queuedNs } = split;
          const all = [guestNs, kernelNs, pollingNs, userNs, deviceNs ?? 0, asleepNs, queuedNs];
          for (const part of all) expect(part).toBeGreaterThanOrEqual(0);
          expect(all.reduce((x, y) => x + y)).toBeCloseTo(split.wallNs, 0);
        }
      }),
    );
  });

  it("of several machines is one line, exact only where all is; empty of none", () => {
    const exact = splitOf({ traced: { guestNs: 0.5 * SECOND, polledNs: 0, sleptNs: 0 } });
    expect(timeLine([exact])).toMatch(/^guest 50.0%, /);
    expect(timeLine([exact, splitOf({})])).toMatch(/^guest ~50.0%, /);
    expect(timeLine([])).toBe("");
  });
});
