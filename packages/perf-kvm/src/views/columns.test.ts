import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ExitRow, Report } from "../model/report.js";
import { columnsFor, DEFAULT_SORT, EXIT_COLUMNS, headerLine, LEVELS, matches, rowLine, sortRows } from "./columns.js";
import { formatCount, formatNs, formatShare } from "./format.js";
import { HISTOGRAM_TITLE, HISTOGRAM_WIDTH, histogramText } from "./histogram.js";
import { jsonReport } from "./json.js";
import { plainReport } from "./plain.js";

const ROW: ExitRow = {
  machine: "demo",
  pid: 42,
  source: "ledger",
  reason: "IO",
  detail: "0xe0 out",
  count: 1000,
  rate: 500,
  share: 0.5,
  avgNs: null,
  minNs: null,
  maxNs: null,
  p50Ns: null,
  p99Ns: null,
  device: "testdev-latch",
  handlerAvgNs: 321,
  handlerMinNs: 300,
  handlerMaxNs: 1000,
  handlerP50Ns: 320,
  handlerP99Ns: 900,
  octaves: null,
};

const number = fc.oneof(fc.constant(null), fc.nat(), fc.double({ min: 0, max: 1e12, noNaN: true }));
const row: fc.Arbitrary<ExitRow> = fc.record({
  machine: fc.string(),
  pid: fc.nat(),
  source: fc.constantFrom("kvm_exit", "userspace", "ledger"),
  reason: fc.string({ maxLength: 40 }),
  detail: fc.string({ maxLength: 40 }),
  count: fc.nat(),
  rate: fc.double({ min: 0, max: 1e12, noNaN: true }),
  share: fc.oneof(fc.constant(null), fc.double({ min: 0, max: 1, noNaN: true })),
  avgNs: number,
  minNs: number,
  maxNs: number,
  p50Ns: number,
  p99Ns: number,
  device: fc.oneof(fc.constant(null), fc.string()),
  handlerAvgNs: number,
  handlerMinNs: number,
  handlerMaxNs: number,
  handlerP50Ns: number,
  handlerP99Ns: number,
  octaves: fc.oneof(fc.constant(null), fc.array(fc.nat(), { maxLength: 40 })),
});

describe("the exit table", () => {
  it("is 80 columns wide, whatever is in it", () => {
    expect(headerLine()).toHaveLength(80);
    fc.assert(
      fc.property(row, (each) => {
        expect(rowLine(each)).toHaveLength(80);
      }),
    );
  });

  it("shows a dash for what cannot be known, never a guess", () => {
    expect(rowLine(ROW).split(/\s{2,}/)).toEqual(["IO", "0xe0 out", "500", "50.0%", "-", "- testdev-latch", "321 ns"]);
  });

  it("is sorted by every column, the larger first and texts in order; ties stay where they are", () => {
    fc.assert(
      fc.property(fc.array(row), fc.nat({ max: EXIT_COLUMNS.length - 1 }), (rows, column) => {
        const sorted = sortRows(rows, column);
        expect(sorted).toHaveLength(rows.length);
        const values = sorted.map(EXIT_COLUMNS[column]!.value);
        for (let i = 1; i < values.length; i++) {
          const [a, b] = [values[i - 1]!, values[i]!];
          if (typeof a === "number") expect(a).toBeGreaterThanOrEqual(b as number);
          else expect(a.localeCompare(b as string)).toBeLessThanOrEqual(0);
        }
        expect(sortRows([...sorted].reverse(), column).map((each) => rowLine(each))).toEqual(
          sorted.map((each) => rowLine(each)),
        );
      }),
    );
  });

  it("has more columns on a wider screen, and never more than fit", () => {
    const titles = (width: number, several = false) =>
      columnsFor("detail", width, { severalMachines: several }).map(({ title }) => title);
    expect(titles(80)).toEqual(EXIT_COLUMNS.map(({ title }) => title));
    expect(titles(40)).toEqual(titles(80));
    expect(titles(118)).toEqual(expect.arrayContaining(["MIN", "P50", "MAX", HISTOGRAM_TITLE]));
    expect(titles(94, true)[0]).toBe("MACHINE");
    const sources = columnsFor("detail", 95, { severalSources: true }).map(({ title }) => title);
    expect(sources.slice(0, 3)).toEqual(["REASON", "DETAIL", "SEEN BY"]);
    const other = columnsFor("detail", 80, { times: true }).map(({ title }) => title);
    expect(other.slice(4)).toEqual(["MIN", "P50", "MAX", HISTOGRAM_TITLE]);
    const all = columnsFor("detail", 130).map(({ title }) => title);
    expect(columnsFor("detail", 130, { times: true }).map(({ title }) => title)).toEqual(all);
    fc.assert(
      fc.property(
        row,
        fc.integer({ min: 80, max: 300 }),
        fc.constantFrom(...LEVELS),
        fc.boolean(),
        fc.boolean(),
        (each, width, level, several, times) => {
          const columns = columnsFor(level, width, {
            ...{ total: several, severalMachines: several, severalSources: times, times },
          });
          expect(headerLine(columns).length).toBeLessThanOrEqual(width);
          expect(rowLine(each, columns)).toHaveLength(headerLine(columns).length);
        },
      ),
    );
  });

  it("draws times as bars, a character for each factor of four", () => {
    expect(histogramText(null)).toBe("-");
    expect(histogramText([])).toBe(" ".repeat(HISTOGRAM_WIDTH));
    // A thousand of 1 us, one of 1 ms; what is shorter or longer than the picture is at its ends.
    const octaves = [...Array.from({ length: 40 }, () => 0)];
    [octaves[0], octaves[10], octaves[20], octaves[39]] = [1, 1000, 1, 1000];
    expect(histogramText(octaves)).toBe("▁ █    ▁   █");
  });

  it("is filtered by reason, detail, device and machine, in either case", () => {
    for (const text of ["io", "0XE0", "latch", "Demo", "ledger", ""]) expect(matches(ROW, text), text).toBe(true);
    expect(matches(ROW, "mmio")).toBe(false);
  });
});

describe("numbers", () => {
  it.each([
    [0, "0 ns"],
    [999, "999 ns"],
    [1000, "1.00 us"],
    [16_600_000, "16.6 ms"],
    [123_456_789, "123 ms"],
    [2.1e9, "2.10 s"],
    [null, "-"],
  ])("of time: %s", (ns, text) => expect(formatNs(ns)).toBe(text));

  it.each([
    [0.54, "0.5"],
    [12.4, "12"],
    [9_410, "9410"],
    [94_105, "94.1k"],
    [1_200_000, "1.20M"],
    [3e9, "3.00G"],
  ])("of things: %s", (count, text) => expect(formatCount(count)).toBe(text));

  it.each([
    [0.123, "12.3%"],
    [1, "100.0%"],
    [null, "-"],
  ])("of parts: %s", (share, text) => expect(formatShare(share)).toBe(text));
});

describe("a report", () => {
  const report: Report = {
    seconds: 2,
    machines: [{ name: "demo", pid: 42, vcpus: 1, sources: ["ledger", "stats"] }],
    rows: [ROW, { ...ROW, reason: "MMIO", rate: 900 }],
    stats: [{ machine: "demo", pid: 42, counters: { io_exits: 1000, guest_mode: 0 } }],
    lost: 0,
    notes: ["something cannot be seen"],
  };

  it("is plain text of at most 80 columns, without escape sequences or blanks at the ends", () => {
    const text = plainReport(report);
    const lines = text.split("\n");
    expect(lines).toEqual([
      "demo (pid 42, 1 vCPU); 2.0 s",
      "note: something cannot be seen",
      "demo: io_exits 500/s",
      headerLine().trimEnd(),
      rowLine(report.rows[1]!).trimEnd(),
      rowLine(report.rows[0]!).trimEnd(),
      "",
    ]);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
    expect(sortRows(report.rows, DEFAULT_SORT)[0]!.reason).toBe("MMIO");
  });

  it("never hides lost records", () => {
    expect(plainReport({ ...report, lost: 7 })).toContain("7 records LOST, the counts are too low");
    expect(JSON.parse(jsonReport({ ...report, lost: 7 }, "total")).lost).toBe(7);
  });

  it("says when there is nothing to see", () => {
    expect(plainReport({ ...report, machines: [], rows: [], stats: [], notes: [] })).toBe("no VM is running; 2.0 s\n");
  });

  it("is one line of JSON that says which kind it is", () => {
    const line = jsonReport(report, "interval");
    expect(line.indexOf("\n")).toBe(line.length - 1);
    expect(JSON.parse(line)).toEqual({ kind: "interval", ...report });
  });
});
