/** `perf-kvm stat` on real machines, which make exactly so many exits of a kind. */
import { readFileSync } from "node:fs";
import { hasKvm, NEEDS_KVM, PERF_KVM, type Process, Scratch, VMM } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import type { ExitRow, Report } from "../model/report.js";
import { lookAtHost } from "../sources/host.js";

vi.setConfig({ testTimeout: 60_000 });
const scratch = new Scratch(PERF_KVM);
afterAll(() => scratch.close());

type JsonReport = Report & { kind: "interval" | "total" };

const reports = (text: string): JsonReport[] =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as JsonReport);

const tracesUserspace = hasKvm && lookAtHost().tracepoints === "userspace";
const LATCH = "testdev-latch";
const countOf = (rows: readonly ExitRow[], device: string): number =>
  rows.filter((row) => row.device === device).reduce((sum, { count }) => sum + count, 0);

/** A machine that runs this at its prompt and powers off. */
const machineRunning = (name: string, commands: string): string[] => [
  ...["--", process.execPath, VMM, "run", "--name", name, "--serial", "null"],
  ...["--append", `run=${commands}; poweroff`],
];

async function command(machine: Process, line: string): Promise<void> {
  const from = machine.stdout.length;
  machine.type(`${line}\r`);
  await machine.until("kvm> ", from);
}

describe.skipIf(!hasKvm)(`perf-kvm stat${NEEDS_KVM}`, { concurrent: true }, () => {
  it("counts a machine that its command starts from the first exit on, and leaves stdout to the command", async () => {
    const args = ["stat", "--vm", "begun", "--filter", LATCH, ...machineRunning("begun", "exits pio 12345")];
    const { status, stdout, stderr } = await scratch.run(args);
    expect({ status, stdout }).toEqual({ status: 0, stdout: "" });
    expect(stderr).toMatch(/^begun \(pid \d+, 1 vCPU\); \d+\.\d s\n/);
    expect(stderr).toMatch(/^REASON +DETAIL +COUNT +TIME +MIN +AVG +P50 +P99 +MAX +OF +DEVICE$/m);
    const latch = stderr.split("\n").filter((line) => line.endsWith(`handler  ${LATCH}`));
    expect(latch).toHaveLength(1);
    expect(latch[0]).toMatch(/^IO +0xe0 out +12345 +\d+\.\d% /);
    expect(stderr).not.toContain("serial16550");
  });

  it("writes comma-separated values, one header and a row a kind, to a file", async () => {
    const file = scratch.path("exits.csv");
    const args = [
      "stat",
      "--vm",
      "spread",
      "--csv",
      "-o",
      file,
      ...machineRunning("spread", "exits pio 700; exits mmio 300"),
    ];
    expect(await scratch.run(args)).toEqual({ status: 0, signal: null, stdout: "", stderr: "" });
    const [header, ...rows] = readFileSync(file, "utf8").trimEnd().split("\r\n");
    const names = header!.split(",");
    const table = rows.map((row) => Object.fromEntries(row.split(",").map((cell, i) => [names[i]!, cell])));
    const latch = table.find(({ device }) => device === LATCH)!;
    expect(latch).toMatchObject({
      machine: "spread",
      reason: "IO",
      detail: "0xe0 out",
      count: "700",
      timeOf: "handler",
    });
    const times = ["minNs", "p50Ns", "p99Ns", "maxNs"].map((name) => Number(latch[name]));
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times[0]).toBeGreaterThan(0);
    expect(table.find(({ device, reason }) => device === "exerciser" && reason === "MMIO")).toMatchObject({
      count: "300",
    });
  });

  it("prints intervals that add up to the total", async () => {
    const machine = await scratch.machine("intervals");
    const stat = scratch.start(["stat", "--vm", "intervals", "--json", "--interval-print", "100"]);
    await stat.until("\n");
    for (const count of [1000, 2000, 4000]) await command(machine, `exits pio ${count}`);
    await command(machine, "echo done");
    stat.signal("SIGINT");
    const { status, stdout } = await stat.ended;
    expect(status).toBe(0);
    const all = reports(stdout);
    const total = all.at(-1)!;
    expect(all.map(({ kind }) => kind)).toEqual([...all.slice(1).map(() => "interval"), "total"]);
    expect(countOf(total.rows, LATCH)).toBe(7000);
    expect(all.slice(0, -1).reduce((sum, { rows }) => sum + countOf(rows, LATCH), 0)).toBe(7000);
  });

  it("counts the exits of one kind of access alone, at capture too", async () => {
    for (const [source, name] of [
      ["ledger", "accesses"],
      ...(tracesUserspace ? [["tracepoints", "captured"] as const] : []),
    ] as const) {
      const machine = await scratch.machine(name);
      const stat = scratch.start([
        ...["stat", "--vm", name, "--event", "mmio", "--source", source, "--json", "--interval-print", "100"],
      ]);
      await stat.until("\n");
      await command(machine, "exits mmio 300");
      await command(machine, "exits pio 200");
      await command(machine, "echo done");
      stat.signal("SIGINT");
      const { rows, groups } = reports((await stat.ended).stdout).at(-1)!;
      expect(
        groups!.vcpu.map(({ count }) => count),
        source,
      ).toEqual([300]);
      expect([...new Set(rows.map(({ reason }) => reason))], source).toEqual(["MMIO"]);
      expect(
        rows.reduce((sum, { count }) => sum + count, 0),
        source,
      ).toBe(300);
    }
  });

  it.skipIf(!tracesUserspace)(
    `says where it cannot know how long exits last${tracesUserspace ? "" : " (needs kvm-pvm with tracepoints)"}`,
    async () => {
      const { stdout } = await scratch.run(["stat", "--duration-over", "100", "--duration", "0.2", "--json"]);
      const { rows, notes } = reports(stdout).at(-1)!;
      expect(rows).toEqual([]);
      expect(notes.join(" ")).toMatch(/told by kvm_exit alone|kvm_exit never fires/);
    },
  );

  it("counts single vCPUs", async () => {
    const machine = await scratch.machine("several", ["--cpus", "3"]);
    const stats = ["0", "1", "0,2", "0-2"].map((vcpu) =>
      scratch.start(["stat", "--pid", String(machine.pid), "--vcpu", vcpu, "--json", "--interval-print", "100"]),
    );
    await Promise.all(stats.map((stat) => stat.until("\n")));
    await command(machine, "exits pio 500 all");
    await command(machine, "echo done");
    // The others' last exit is in their ledger when they leave the guest again, which an idle vCPU does not.
    for (const [index, expected] of [500, 500, 1000, 1500].entries()) {
      stats[index]!.signal("SIGTERM");
      const counted = countOf(reports((await stats[index]!.ended).stdout).at(-1)!.rows, LATCH);
      expect(counted).toBeGreaterThan(expected - 3);
      expect(counted).toBeLessThanOrEqual(expected);
    }
  });
});

describe("perf-kvm stat with a command", () => {
  it.each([
    ["its status", ["sh", "-c", "exit 7"], 7],
    ["128 and its signal", ["sh", "-c", "kill -TERM $$"], 143],
    ["127 when there is no such program", ["/no/such/program"], 127],
  ])("ends with %s", async (_, args, status) => {
    const outcome = await scratch.run(["stat", "--", ...args]);
    expect(outcome).toMatchObject({ status, stdout: "" });
  });

  it("hands the command its options, its input and its output", async () => {
    const { status, stdout } = await scratch.run(["stat", "--", "cat", "-n"], { input: "hello\n" });
    expect({ status, stdout: stdout.trim() }).toEqual({ status: 0, stdout: "1\thello" });
  });

  it("waits for the command after a signal, which it passes on", async () => {
    const script = 'trap "echo ended; exit 3" TERM; echo ready; while :; do sleep 0.05; done';
    const stat = scratch.start(["stat", "--", "sh", "-c", script]);
    await stat.until("ready");
    stat.signal("SIGTERM");
    expect(await stat.ended).toMatchObject({ status: 3, stdout: "ready\nended\n" });
  });

  it("ends the command when the time is over", async () => {
    const { status } = await scratch.run(["stat", "--duration", "0.2", "--", "sleep", "60"]);
    expect(status).toBe(143);
  });

  it.each([
    [["--csv", "--json"], "--csv and --json: give one of them"],
    [["--vm", "a", "--pid", "1"], "--vm and --pid"],
    [["--pid", "me"], "--pid me: the number of a process"],
    [["--pid", "1"], "--pid 1: no such machine"],
    [["--vcpu", "1-"], "--vcpu 1-: numbers of vCPUs"],
    [["--vcpu", "3-1"], "--vcpu 3-1: numbers of vCPUs"],
    [["--vcpu", "99999"], "--vcpu 99999: numbers of vCPUs"],
    [["--interval-print", "1"], "--interval-print 1: milliseconds, from 10"],
    [["--event", "page"], "--event page: one of exit, mmio, ioport, msr"],
    [["--duration-over", "0"], "--duration-over 0: microseconds, from 1"],
    [["--duration", "never"], "--duration never: seconds"],
  ])("refuses %j in one line, with status 2", async (args, words) => {
    const { status, stdout, stderr } = await scratch.run(["stat", ...args]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(/^perf-kvm: [^\n]+\n$/);
    expect(stderr).toContain(words);
  });
});
