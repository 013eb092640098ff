/** Two recordings compared: each kind of exit once, with both sides' figures, whatever is in them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { PerfDataReader } from "../sources/perf-data/reader.js";
import { type Happening, write } from "../sources/perf-data/testing.js";
import { csvDiff, diffTable, jsonDiff } from "../views/diff-table.js";
import { diffReports } from "./diff.js";
import { RecordingTally } from "./recording.js";
import type { Report } from "./report.js";

const folder = mkdtempSync(join(tmpdir(), "diff-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const IOIO = 0x7b;
const MSR = 0x7c;
const HLT = 0x78;

/** A recording of one thread: exits that last so many nanoseconds each, one every 100 us. */
function recorded(exits: readonly (readonly [reason: number, ns: number])[], tid = 1000): Report {
  const happenings: Happening[] = [{ event: "kvm_entry", ns: 1, tid }];
  exits.forEach(([reason, ns], index) => {
    const at = 100_000 * (index + 1);
    happenings.push({ event: "kvm_exit", ns: at, tid, values: { exit_reason: reason, isa: 2 } });
    happenings.push({ event: "kvm_entry", ns: at + ns, tid });
  });
  const path = join(folder, "perf.data");
  write(path, happenings);
  const reader = PerfDataReader.open(path);
  try {
    const tally = new RecordingTally(reader);
    tally.run();
    return tally.report("reason");
  } finally {
    reader.close();
  }
}

describe("a comparison", () => {
  it("has what became slower first, and kinds that are in one recording alone", () => {
    const before = recorded([...Array(8).fill([IOIO, 1000]), ...Array(2).fill([MSR, 2000])]);
    const after = recorded([...Array(8).fill([IOIO, 9000]), ...Array(2).fill([HLT, 2000])], 2000);
    const { rows } = diffReports(before, after);
    expect(rows.map(({ reason }) => reason).sort()).toEqual(["HLT", "IOIO", "MSR"]);
    const [first] = rows;
    expect([first!.reason, first!.before!.count, first!.after!.count]).toEqual(["IOIO", 8, 8]);
    expect([first!.before!.avgNs, first!.after!.avgNs]).toEqual([1000, 9000]);
    const msr = rows.find(({ reason }) => reason === "MSR")!;
    expect([msr.before!.count, msr.after, msr.rateChange]).toEqual([2, null, -msr.before!.rate]);
    const text = diffTable(diffReports(before, after));
    expect(text).toMatch(/^REASON +DETAIL +COUNT +-> +RATE\/s/m);
    expect(text).toMatch(/^HLT +- +- +2 /m);
  });

  it("of a recording with itself has no change", () => {
    const report = recorded([...Array(3).fill([IOIO, 700]), [HLT, 5000]]);
    const { rows } = diffReports(report, report);
    expect(rows.map(({ rateChange, awayChange }) => [rateChange, awayChange])).toEqual([
      [0, 0],
      [0, 0],
    ]);
  });

  it("has every row of both exactly once, in all three forms", () => {
    const reasons = fc.array(
      fc.tuple(fc.constantFrom(IOIO, MSR, HLT, 0x72, 0x400), fc.integer({ min: 1, max: 90_000 })),
      {
        maxLength: 20,
      },
    );
    fc.assert(
      fc.property(reasons, reasons, (a, b) => {
        const found = diffReports(recorded(a), recorded(b));
        const count = (side: "before" | "after") => found.rows.reduce((sum, row) => sum + (row[side]?.count ?? 0), 0);
        expect([count("before"), count("after")]).toEqual([a.length, b.length]);
        expect(new Set(found.rows.map(({ reason }) => reason)).size).toBe(found.rows.length);
        expect(JSON.parse(jsonDiff(found)).rows).toHaveLength(found.rows.length);
        expect(csvDiff(found).trimEnd().split("\r\n")).toHaveLength(found.rows.length + 1);
      }),
      { numRuns: 40 },
    );
  });
});
