import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ExitRow, Report } from "../model/report.js";
import { EXIT_COLUMNS } from "./columns.js";
import { frame, INITIAL_STATE, keysOf, picture, pressed, type TuiState } from "./tui.js";

const ROWS = 24;

function rowOf(reason: string, rate: number): ExitRow {
  const unknown = {
    share: null,
    avgNs: null,
    minNs: null,
    maxNs: null,
    p50Ns: null,
    p99Ns: null,
    handlerAvgNs: null,
    handlerMinNs: null,
    handlerMaxNs: null,
    handlerP50Ns: null,
    handlerP99Ns: null,
    octaves: null,
  };
  return { machine: "demo", pid: 1, source: "ledger", reason, detail: "", count: 1, rate, device: null, ...unknown };
}

function reportOf(rows: readonly ExitRow[]): Report {
  const machines = [{ name: "demo", pid: 1, vcpus: 1, sources: ["ledger"] }];
  return { seconds: 1, machines, rows, stats: [], lost: 0, notes: [] };
}

/** The state after these keys; undefined when one of them has ended the view. */
function after(...keys: string[]): TuiState | undefined {
  return afterOn(NO_REPORT, ...keys);
}

const NO_REPORT = reportOf([]);

function afterOn(report: Report, ...keys: string[]): TuiState | undefined {
  return keys.reduce<TuiState | undefined>((state, key) => state && pressed(state, key, report), INITIAL_STATE);
}

const report = reportOf([rowOf("IO", 10), rowOf("MMIO", 30), rowOf("HLT", 20)]);
const reasons = (lines: readonly string[]) =>
  lines.map((line) => line.split(" ")[0]).filter((word) => ["IO", "MMIO", "HLT"].includes(word!));

describe("the live table", () => {
  it("fills the screen exactly, whatever the report and the keys", () => {
    const key = fc.constantFrom(..."<>fpthc123456x\r\x7f\x1b", "\x1b[A", "\x1b[B", "\x1b[5~", "\x1b[6~");
    fc.assert(
      fc.property(fc.array(key), fc.nat({ max: 60 }), fc.integer({ min: 2, max: 50 }), (keys, count, rows) => {
        const many = reportOf(Array.from({ length: count }, (_, i) => rowOf(`R${i}`, i)));
        const { lines, marked } = picture(many, afterOn(many, ...keys)!, rows);
        expect(marked).toBeLessThan(rows - 1);
        expect(lines).toHaveLength(rows);
        expect(lines.at(-1)).toMatch(/^(sorted by|filter: )/);
      }),
    );
  });

  it("has the busiest exit on top, and another order by < and >", () => {
    expect(reasons(frame(report, INITIAL_STATE, ROWS))).toEqual(["MMIO", "HLT", "IO"]);
    expect(reasons(frame(report, after("<", "<")!, ROWS))).toEqual(["HLT", "IO", "MMIO"]);
    expect(frame(report, after("<", "<")!, ROWS).at(-1)).toContain("sorted by REASON");
    const around = after(...EXIT_COLUMNS.map(() => ">"))!;
    expect(around.sort).toBe(INITIAL_STATE.sort);
  });

  it("shows only rows with the text typed after f, and all again after an empty one", () => {
    expect(frame(report, after("f", "m", "m")!, ROWS).at(-1)).toBe("filter: mm_");
    const filtered = after("f", "m", "x", "\x7f", "m", "\r")!;
    expect(reasons(frame(report, filtered, ROWS))).toEqual(["MMIO"]);
    expect(frame(report, filtered, ROWS)[0]).toContain("filter: mm");
    expect(frame(report, after("f", "z", "z", "\r")!, ROWS)).toContain("no row has this text");
    expect(reasons(frame(report, after("f", "z", "\r", "f", "\r")!, ROWS))).toHaveLength(3);
    expect(after("f", "z", "\x1b")!.filter).toBe("");
  });

  it("ends by q and Ctrl-C; a q in a filter is a letter", () => {
    expect(after("q")).toBeUndefined();
    expect(after("f", "\x03")).toBeUndefined();
    expect(after("f", "q", "\r")!.filter).toBe("q");
  });

  it("freezes by p and says so", () => {
    expect(frame(report, after("p")!, ROWS)[0]).toContain("FROZEN");
    expect(after("p", "p")!.frozen).toBe(false);
  });

  it("scrolls within its rows", () => {
    const many = reportOf(Array.from({ length: 40 }, (_, i) => rowOf(`R${i}`, 100 - i)));
    const chosen = (...keys: string[]) => {
      const { lines, marked } = picture(many, afterOn(many, ...keys)!, ROWS);
      return lines[marked];
    };
    expect(chosen()).toMatch(/^R0 /);
    expect(chosen("\x1b[B", "\x1b[B")).toMatch(/^R2 /);
    expect(chosen("\x1b[6~", "\x1b[6~", "\x1b[6~")).toMatch(/^R30 /);
    expect(chosen(...Array.from({ length: 90 }, () => "\x1b[B"))).toMatch(/^R39 /);
    expect(chosen("\x1b[6~", "\x1b[5~", "\x1b[A")).toMatch(/^R0 /);
  });

  it("keeps the chosen row when others overtake it, and the first place while none is chosen", () => {
    const faster = reportOf([rowOf("IO", 10), rowOf("MMIO", 30), rowOf("HLT", 200)]);
    const marked = (shown: Report, state: TuiState) => {
      const { lines, marked } = picture(shown, state, ROWS);
      return lines[marked]!.split(" ")[0];
    };
    expect([marked(report, INITIAL_STATE), marked(faster, INITIAL_STATE)]).toEqual(["MMIO", "HLT"]);
    const chosen = afterOn(report, "\x1b[B", "\x1b[B")!;
    expect([marked(report, chosen), marked(faster, chosen)]).toEqual(["IO", "IO"]);
    const second = afterOn(report, "\x1b[B")!;
    expect([marked(report, second), marked(faster, second)]).toEqual(["HLT", "HLT"]);
    expect(marked(faster, pressed(second, "\x1b[B", faster)!)).toBe("MMIO");
    expect(marked(reportOf([rowOf("IO", 1)]), second)).toBe("IO");
  });

  it("goes from machines to reasons to details by Enter, and back", () => {
    const row = (pid: number, reason: string, detail: string): ExitRow => ({
      ...rowOf(reason, 10 * pid),
      machine: `m${pid}`,
      pid,
      detail,
    });
    const device = "testdev-latch";
    const details = [
      row(1, "IO", "0x80 out"),
      row(2, "IO", "0xe0 out"),
      { ...row(2, "IO", "0xe4 out"), device },
      row(2, "HLT", ""),
    ];
    const machines = [1, 2].map((pid) => ({ name: `m${pid}`, pid, vcpus: 1, sources: ["ledger"] }));
    const groups = {
      reason: [row(1, "IO", ""), row(2, "IO", ""), row(2, "HLT", "")],
      vcpu: [{ ...row(2, "", ""), vcpu: 7 }],
      vcpuReason: [
        { ...row(2, "IO", ""), vcpu: 7 },
        { ...row(2, "HLT", ""), vcpu: 7 },
        { ...row(2, "MSR", ""), vcpu: 8 },
      ],
      device: [{ ...row(2, "", ""), device }],
      rip: [
        { ...row(2, "IO", "0xe0 out"), rip: "0x100042", symbol: "pio_loop+0x10" },
        { ...row(2, "IO", "0xe4 out"), rip: "0xffffffff81000000", symbol: null },
      ],
      vm: [row(1, "", ""), row(2, "", "")],
    };
    const many: Report = { ...reportOf(details), machines, groups };
    const shown = (...keys: string[]) => {
      const lines = frame(many, afterOn(many, ...keys)!, ROWS);
      const from = lines.findIndex((line) => /TIME/.test(line));
      return lines
        .slice(from + 1, -1)
        .filter((line) => line !== "")
        .map((line) =>
          line
            .split(/\s{2,}|\s(?=ledger)/)
            .slice(0, 2)
            .join(" "),
        );
    };
    expect(shown("4")).toEqual(["m2 ledger", "m1 ledger"]);
    expect(shown("4", "\r")).toEqual(["HLT ledger", "IO ledger"]);
    expect(shown("4", "\r", "\x1b[B", "\r")).toEqual(["IO 0xe0 out", "IO 0xe4 out"]);
    expect(shown("4", "\r", "\x1b[B", "\r", "\x7f")).toEqual(["HLT ledger", "IO ledger"]);
    expect(shown("4", "\r", "\r", "\x7f", "\x7f", "\x7f")).toEqual(["m2 ledger", "m1 ledger"]);
    expect(shown("3")).toEqual(["m2 7"]);
    expect(shown("3", "\r")).toEqual(["HLT ledger", "IO ledger"]);
    expect(
      frame(many, afterOn(many, "3", "\r")!, ROWS)
        .slice(0, 2)
        .join(""),
    ).toMatch(/by reason of m2 +vCPU 7/);
    expect(shown("3", "\r", "\r", "\x7f")).toEqual(["m2 7"]);
    expect(shown("5")[0]).toMatch(/^testdev-latch m2/);
    expect(shown("5", "\r")).toEqual(["IO 0xe4 out"]);
    expect(shown("5", "\r", "\r")).toEqual(["0xffffffff81000000 IO"]);
    const traced = { ...many, machines: machines.map((each) => ({ ...each, sources: ["kvm_exit", "instructions"] })) };
    expect(frame(traced, afterOn(traced, "6")!, ROWS)).toContainEqual(
      expect.stringMatching(/^pio_loop\+0x10 +IO +0xe0 out/),
    );
    expect(frame(many, afterOn(many, "4", "\r", "\r")!, ROWS)[0]).toContain("by detail of m2 HLT");
  });

  it("shows the total by t, with counts in place of rates", () => {
    const state = after("t")!;
    expect(frame(report, state, ROWS).join("\n")).toMatch(/TOTAL[\s\S]*COUNT/);
    expect(frame(report, state, ROWS).at(-1)).toContain("sorted by COUNT");
  });

  it("has extremes and bars in place of means by c, and a table of devices that says when nobody knows of any", () => {
    expect(frame(report, after("c")!, ROWS)).toContainEqual(expect.stringMatching(/MIN +P50 +MAX ns us {3}ms s/));
    expect(frame(report, after("c", "c")!, ROWS)).toContainEqual(expect.stringMatching(/AVG +P99 DEVICE/));
    const foreign = { ...report, machines: [{ ...report.machines[0]!, sources: ["kvm_exit"] }] };
    expect(frame(foreign, after("5")!, ROWS).join(" ")).toContain("none of these VMs keeps one");
    expect(frame(report, after("5")!, ROWS)).toContain("no exits in this period");
    expect(frame(report, after("6")!, ROWS).join(" ")).toContain("told by tracepoints");
    const traced = { ...report, machines: [{ ...report.machines[0]!, sources: ["kvm_exit", "instructions"] }] };
    expect(frame(traced, after("6")!, ROWS)).toContain("no exits in this period");
  });

  it("explains itself by h, and says what to do when no machine runs", () => {
    expect(frame(report, after("h")!, ROWS).join("\n")).toMatch(/quit[\s\S]*cannot be known on this host/);
    expect(frame({ ...report, machines: [] }, INITIAL_STATE, ROWS).join("\n")).toContain("`vmm run` starts one");
    expect(frame(reportOf([]), INITIAL_STATE, ROWS)).toContain("no exits in this period");
  });

  it("fits 80 columns: help, notes and counters are cut at their words", () => {
    const counters = Object.fromEntries(
      ["exits", "io_exits", "mmio_exits", "halt_exits", "irq_exits"].map((name) => [name, 123_456]),
    );
    const notes = ["a note that is longer than a line of a terminal has room for, which happens when a mend is long"];
    const wide = { ...report, notes, stats: [{ machine: "a-machine-of-some-name", pid: 1, counters }] };
    for (const state of [INITIAL_STATE, after("h")!]) {
      const lines = frame(wide, state, ROWS);
      expect(lines.filter((line) => line.length > 80)).toEqual([]);
      expect(lines.join(" ").replaceAll(/\s+/g, " ")).toContain(notes[0]!);
      // Help has the room for itself.
      if (!state.help) expect(lines.join(" ")).toContain("irq_exits");
      else expect(lines.join(" ")).toContain("a bar for each factor of four");
    }
  });

  it("has room for its table on 80x24 with 200 machines", () => {
    const each = Array.from({ length: 200 }, (_, n) => ({ name: `machine-${n}`, pid: n + 1, vcpus: 2, sources: [] }));
    const stats = each.map(({ name, pid }) => ({ machine: name, pid, counters: { exits: 10, halt_exits: 1 } }));
    const many = { ...report, machines: each, stats };
    const lines = frame(many, INITIAL_STATE, ROWS);
    expect(lines[0]).toBe("perf-kvm top: 200 VMs, 400 vCPUs; 1.0 s");
    expect(lines[1]).toBe("all: exits 2000/s, halt_exits 200/s");
    expect(reasons(lines)).toHaveLength(3);
  });

  it("takes what a terminal sends apart into keys", () => {
    expect(keysOf("q\x1b[Ax\x1b[B")).toEqual(["q", "\x1b[A", "x", "\x1b[B"]);
    expect(keysOf("\x1b")).toEqual(["\x1b"]);
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(keysOf(text).join("")).toBe(text);
      }),
    );
  });
});
