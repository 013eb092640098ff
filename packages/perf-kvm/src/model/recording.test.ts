import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, it } from "vitest";
import { PerfDataReader } from "../sources/perf-data/reader.js";
import { type Happening, ROUND, write } from "../sources/perf-data/testing.js";
import { type Grouping, RecordingTally } from "./recording.js";

const folder = mkdtempSync(join(tmpdir(), "recording-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function report(happenings: readonly (Happening | typeof ROUND)[], by: Grouping = "detail") {
  const path = join(folder, "perf.data");
  write(path, happenings);
  const reader = PerfDataReader.open(path);
  const tally = new RecordingTally(reader);
  tally.run();
  reader.close();
  return tally.report(by);
}

const exit = (ns: number, tid: number, reason = 0x72, pid = 1000): Happening => ({
  event: "kvm_exit",
  ns,
  tid,
  pid,
  values: { exit_reason: reason, isa: 2 },
});
const entry = (ns: number, tid: number, pid = 1000): Happening => ({ event: "kvm_entry", ns, tid, pid });

it("counts from a thread's first entry on, as perf kvm stat does", () => {
  const { rows } = report([exit(10, 1), entry(20, 1), exit(30, 1), entry(70, 1), exit(80, 1)]);
  expect(rows).toMatchObject([{ reason: "CPUID", count: 1, minNs: 40, maxNs: 40, avgNs: 40, p99Ns: 40 }]);
});

it("keeps threads apart, and brings together what one of them did on several CPUs", () => {
  // A ring of another CPU comes later in the file, with times that are earlier than the first.
  const later = [entry(1000, 1), exit(1100, 1), entry(1500, 1)].map((each) => ({ ...each, cpu: 0 }));
  const earlier = [entry(100, 1), exit(300, 1), entry(900, 1)].map((each) => ({ ...each, cpu: 1 }));
  const other = [entry(150, 2), exit(350, 2), entry(360, 2)].map((each) => ({ ...each, cpu: 1 }));
  const all = [...later, ...[...earlier, ...other].sort((a, b) => a.ns - b.ns)];
  expect(report(all).rows).toMatchObject([{ reason: "CPUID", count: 3, minNs: 10, maxNs: 600 }]);
});

it("tells machines apart by their processes", () => {
  const { machines, rows } = report([
    entry(1, 1),
    exit(2, 1),
    entry(3, 1),
    entry(4, 9, 9),
    exit(5, 9, 0x7c, 9),
    entry(9, 9, 9),
  ]);
  expect(machines.map(({ name, pid, vcpus }) => [name, pid, vcpus])).toEqual([
    ["vmm", 1000, 1],
    [":9", 9, 1],
  ]);
  expect(rows.map(({ pid, reason, count }) => [pid, reason, count])).toEqual([
    [1000, "CPUID", 1],
    [9, "MSR", 1],
  ]);
});

it("says what is missing when nothing can be counted", () => {
  const { rows, machines, notes } = report([exit(1, 1)]);
  expect([rows, machines]).toEqual([[], []]);
  expect(notes).toEqual([
    "no exits in it; its events: kvm:kvm_exit, kvm:kvm_entry, kvm:kvm_userspace_exit, kvm:kvm_pio",
  ]);
});

it("stays within its memory when a file claims thousands of vCPUs and reasons", () => {
  const happenings: Happening[] = [];
  for (let i = 0; i < 12_000; i++) {
    const tid = 1 + (i % 3000);
    happenings.push(entry(10 * i, tid), exit(10 * i + 5, tid, i));
  }
  const { rows, notes } = report(happenings, "reason");
  expect(rows.length).toBeLessThan(10_000);
  expect(rows.find(({ reason }) => reason === "OTHER")!.count).toBeGreaterThan(0);
  expect(notes.join()).toMatch(/more than 2048 threads: \d+ events are not counted/);
});

it("counts as if all had been sorted, whatever CPUs the threads were on", () => {
  const event = fc.record({
    isEntry: fc.boolean(),
    tid: fc.integer({ min: 1, max: 3 }),
    cpu: fc.nat(2),
    gap: fc.integer({ min: 1, max: 50 }),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 120 }), fc.integer({ min: 1, max: 40 }), (events, roundLength) => {
      let ns = 1000;
      const inOrder = events.map(({ isEntry, tid, cpu, gap }) => {
        ns += gap;
        return { ...(isEntry ? entry(ns, tid) : exit(ns, tid)), cpu };
      });
      // As perf drains its rings: a round at a time, one CPU after the other.
      const inFile: (Happening | typeof ROUND)[] = [];
      for (let from = 0; from < inOrder.length; from += roundLength) {
        const round = inOrder.slice(from, from + roundLength);
        for (const cpu of [2, 0, 1]) inFile.push(...round.filter((each) => each.cpu === cpu));
        inFile.push(ROUND);
      }
      const [row] = report(inFile).rows;
      const times = naive(inOrder);
      expect(row?.count ?? 0).toBe(times.length);
      if (times.length > 0) expect([row!.minNs, row!.maxNs]).toEqual([Math.min(...times), Math.max(...times)]);
    }),
    { numRuns: 150 },
  );
});

/** Times away, by the definition. */
function naive(events: readonly Happening[]): number[] {
  const times: number[] = [];
  for (const tid of [1, 2, 3]) {
    let exitNs: number | undefined;
    let hasEntered = false;
    for (const { event, ns } of events.filter((each) => each.tid === tid)) {
      if (event === "kvm_entry") {
        if (exitNs !== undefined) times.push(ns - exitNs);
        exitNs = undefined;
        hasEntered = true;
      } else if (hasEntered) exitNs = ns;
    }
  }
  return times;
}
