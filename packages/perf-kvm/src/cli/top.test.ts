/** `perf-kvm top` on real machines: the guest makes exactly so many exits of a kind, and the table has to say so. */
import { setTimeout } from "node:timers/promises";
import { hasKvm, NEEDS_KVM, PERF_KVM, type Process, Scratch, Terminal } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import type { ExitRow, Report } from "../model/report.js";
import { lookAtHost } from "../sources/host.js";
import { Glass } from "../views/testing.js";

vi.setConfig({ testTimeout: 60_000 });
const scratch = new Scratch(PERF_KVM);
const terminals: Terminal[] = [];
afterAll(async () => {
  await scratch.close();
  for (const terminal of terminals) terminal.close();
});

type JsonReport = Report & { kind: "interval" | "total" };

const reports = (stdout: string): JsonReport[] =>
  stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as JsonReport);

const counted = (rows: readonly ExitRow[], wanted: Partial<ExitRow>): number =>
  rows
    .filter((row) => Object.entries(wanted).every(([key, value]) => row[key as keyof ExitRow] === value))
    .reduce((sum, { count }) => sum + count, 0);

/** Has the guest do something, and waits until it is done. */
async function command(machine: Process, line: string): Promise<void> {
  const from = machine.stdout.length;
  machine.type(`${line}\r`);
  await machine.until("kvm> ", from);
}

describe.skipIf(!hasKvm)(`perf-kvm top${NEEDS_KVM}`, { concurrent: true }, () => {
  it("counts every exit that the guest makes, with its device and the device's time", async () => {
    const machine = await scratch.machine("counted");
    const top = scratch.start(["top", "--pid", String(machine.pid), "--json", "--interval", "0.2"]);
    await top.until("\n");
    await command(machine, "exits pio 20000");
    await command(machine, "exits mmio 3000");
    // What a vCPU did last is in its ledger once it has left the guest again.
    await command(machine, "echo done");
    top.signal("SIGINT");
    const { status, stdout, stderr } = await top.ended;
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const all = reports(stdout);
    const total = all.at(-1)!;
    expect(all.map(({ kind }) => kind)).toEqual([...all.slice(1).map(() => "interval"), "total"]);
    expect(total.machines).toMatchObject([{ name: "counted", pid: machine.pid, vcpus: 1 }]);
    expect(total.lost).toBe(0);

    const latch = { source: "ledger", reason: "IO", detail: "0xe0 out", device: "testdev-latch" } as const;
    expect(counted(total.rows, latch)).toBe(20_000);
    expect(counted(total.rows, { source: "ledger", reason: "MMIO", device: "exerciser" })).toBe(3000);
    const intervals = all.slice(0, -1).map(({ rows }) => counted(rows, latch));
    expect(intervals.reduce((a, b) => a + b)).toBe(20_000);
    const row = total.rows.find(({ device }) => device === latch.device)!;
    expect(row.handlerAvgNs).toBeGreaterThan(0);
    expect(row.handlerP99Ns).toBeGreaterThanOrEqual(row.handlerP50Ns!);
    expect(row.handlerP50Ns).toBeGreaterThanOrEqual(row.handlerMinNs!);
    expect(row.share).toBeGreaterThan(0);
    expect(row.share).toBeLessThanOrEqual(1);
    const { device, vcpuReason } = total.groups!;
    expect(counted(device, { device: latch.device })).toBe(20_000);
    expect(counted(device, { device: "exerciser" })).toBe(3000);
    expect(counted(vcpuReason, { vcpu: 0, reason: "MMIO" })).toBe(3000);
    // Where its time went: the parts add up, and the devices that answered have theirs.
    const [split] = total.times!;
    expect(split).toMatchObject({ machine: "counted", userFrom: "ledger" });
    const { guestNs, kernelNs, pollingNs, userNs, deviceNs, asleepNs, queuedNs, wallNs } = split!;
    const parts = guestNs + kernelNs + pollingNs + userNs + deviceNs! + asleepNs + queuedNs;
    expect(Math.abs(parts - wallNs)).toBeLessThan(1000);
    const handled = device.reduce((sum, { count, handlerAvgNs }) => sum + count * handlerAvgNs!, 0);
    // A handler that began before a report is told in the next one, which may be shorter than it took.
    expect(deviceNs).toBeGreaterThan(0);
    expect(deviceNs! / handled).toBeLessThan(1 + 1e-6);
    expect(kernelNs).toBeGreaterThan(0);
    // KVM's own counters, from the machine's open stats descriptors.
    expect(total.stats[0]!.counters.exits).toBeGreaterThanOrEqual(23_000);
  });

  const { tracepoints } = lookAtHost();
  const noTracing = tracepoints === "none";
  it.skipIf(noTracing)(
    `counts the same by the kernel's tracepoints${noTracing ? " (needs tracepoints)" : ""}`,
    async () => {
      const machine = await scratch.machine("traced");
      const options = ["--source", "tracepoints,instructions", "--json", "--interval", "0.2"];
      const top = scratch.start(["top", "--pid", String(machine.pid), ...options]);
      await top.until("\n");
      await command(machine, "exits pio 5000");
      await command(machine, "exits cpuid 700");
      await command(machine, "echo done");
      top.signal("SIGINT");
      const { stdout } = await top.ended;
      const total = reports(stdout).at(-1)!;
      expect(total.lost).toBe(0);
      const reason = tracepoints === "userspace" ? "IO" : expect.stringMatching(/^IO/);
      const rows = total.rows.filter(({ detail }) => detail === "0xe0 out");
      expect(rows).toMatchObject([{ reason, count: 5000, device: null }]);
      expect(total.rows).toContainEqual(expect.objectContaining({ reason: "CPUID", detail: "leaf 0x0", count: 700 }));
      // Each comes from one instruction of the guest.
      const { rip } = total.groups!;
      expect(rip.filter(({ detail }) => detail === "0xe0 out")).toMatchObject([
        { count: 5000, symbol: expect.stringMatching(/^pio_loop\+0x[0-9a-f]+$/) },
      ]);
      expect(rip.filter(({ detail }) => detail === "leaf 0x0")).toMatchObject([
        { reason: "CPUID", count: 700, symbol: expect.stringMatching(/^cpuid_loop\+0x[0-9a-f]+$/) },
      ]);
    },
  );

  it("sees machines that come after it, ends with none, and tells them apart", async () => {
    const top = scratch.start(["top", "--json", "--interval", "0.2"]);
    await top.until("\n");
    const machines = await Promise.all(["late-1", "late-2"].map((name) => scratch.machine(name)));
    for (const [index, machine] of machines.entries()) {
      await top.until(`"name":"late-${index + 1}","pid":${machine.pid}`);
      await command(machine, `exits pio ${1000 * (index + 1)}`);
      machine.type("poweroff\r");
      await machine.ended;
    }
    top.signal("SIGTERM");
    const total = reports((await top.ended).stdout).at(-1)!;
    const latch = { detail: "0xe0 out", source: "ledger" } as const;
    expect(counted(total.rows, { ...latch, machine: "late-1" })).toBe(1000);
    expect(counted(total.rows, { ...latch, machine: "late-2" })).toBe(2000);
  });

  it("prints one plain table after --duration, without escape sequences, to two readers at once", async () => {
    const machine = await scratch.machine("plain");
    const tops = [1, 2].map(() => scratch.start(["top", "--vm", String(machine.pid), "--duration", "2"]));
    let areOver = false;
    const outcomes = Promise.all(tops.map(({ ended }) => ended)).finally(() => {
      areOver = true;
    });
    // Nothing says when they have begun to look.
    while (!areOver) await command(machine, "exits pio 2000");
    for (const { status, stdout } of await outcomes) {
      expect(status).toBe(0);
      expect(stdout).toMatch(/^[\n -~]*$/);
      expect(stdout).toMatch(/^plain \(pid \d+, 1 vCPU\); 2\.\d s\n/);
      expect(stdout).toMatch(/^IO +0xe0 out +\S+ +\S+% .* testdev-latch +[\d.]+ [nu]s$/m);
      expect(stdout.match(/^REASON/gm)).toHaveLength(1);
    }
  });

  it("ends after --count reports, and shows single vCPUs, by vCPU too", async () => {
    const machine = await scratch.machine("counting", ["--cpus", "2"]);
    const args = ["top", "--pid", String(machine.pid), "--vcpu", "1", "--json", "--interval", "0.3", "--count", "4"];
    const top = scratch.start(args);
    await top.until("\n");
    await command(machine, "exits pio 400 all");
    const { status, stdout } = await top.ended;
    expect(status).toBe(0);
    const all = reports(stdout);
    expect(all.map(({ kind }) => kind)).toEqual(["interval", "interval", "interval", "interval", "total"]);
    const { groups } = all.at(-1)!;
    expect(groups!.vcpu.map(({ vcpu }) => vcpu)).toEqual([1]);
  });

  it("ends quietly when its reader goes away", async () => {
    await scratch.machine("piped");
    const top = scratch.start(["top", "--vm", "piped", "--interval", "0.1"]);
    await top.until("piped");
    top.child.stdout!.destroy();
    expect(await top.ended).toMatchObject({ status: 0, stderr: "" });
  });

  it("is a live table on a terminal, with keys, and leaves the terminal as it was", async () => {
    const machine = await scratch.machine("live");
    const terminal = new Terminal();
    terminals.push(terminal);
    const before = terminal.settings();
    terminal.resize(120, 30);
    const top = terminal.start(scratch, ["top", "--pid", String(machine.pid), "--interval", "0.2"]);
    await terminal.until("\x1b[?1049h");
    await terminal.until("sorted by RATE/s");
    await terminal.until("ns us   ms s");
    expect(terminal.isCooked).toBe(false);
    machine.type("exits pio 300000\r");
    await terminal.until("testdev-latch");
    terminal.type(">");
    await terminal.until("TIME   q quit");
    terminal.type("fserial\r");
    await terminal.until("filter: serial");
    terminal.resize(100, 30);
    terminal.type("f\r4");
    await terminal.until("by machine");
    terminal.type("\r");
    await terminal.until("reason of live");
    terminal.type("t5\r");
    await terminal.until("tail of live");
    terminal.type("3");
    await terminal.until("vCPU  TOTAL");
    terminal.type("h");
    await terminal.until("this help");
    terminal.type("q");
    expect(await top.ended).toMatchObject({ status: 0, signal: null });
    expect(terminal.text().endsWith("\x1b[?25h\x1b[?1049l")).toBe(true);
    expect(terminal.settings()).toBe(before);
  });

  it("shows on 80x24 exactly what the guest did, in every table", async () => {
    const machine = await scratch.machine("exact");
    const terminal = new Terminal();
    terminals.push(terminal);
    const top = terminal.start(scratch, ["top", "--pid", String(machine.pid), "--interval", "0.1"]);
    await terminal.until("sorted by RATE/s");
    const lines = (): string[] => {
      const glass = new Glass(80, 24);
      glass.write(Buffer.from(terminal.text(), "latin1").toString("utf8"));
      return glass.lines;
    };
    const shows = async (row: RegExp): Promise<void> => {
      while (!lines().some((line) => row.test(line))) await setTimeout(50);
    };
    terminal.type("t");
    await command(machine, "exits pio 3210");
    await command(machine, "exits mmio 432");
    await shows(/^IO +0xe0 out +3210 .* testdev-latch /);
    await shows(/^MMIO +0xfeb0000\w in +432 .* exerciser /);
    expect(lines()[0]).toMatch(/^perf-kvm top: exact \(pid \d+, 1 vCPU\); \S+ s {2}TOTAL +$/);
    expect(lines().join("\n")).toMatch(/^time: .*kernel ~?\d.*device \d/m);
    terminal.type("c");
    await shows(/^IO +0xe0 out +3210 .*[▁-█]/);
    terminal.type("1");
    await shows(/^MMIO +ledger +432 /);
    terminal.type("5");
    await shows(/^testdev-latch +exact +3210 /);
    terminal.type("6");
    await shows(tracepoints === "userspace" ? /told by tracepoints/ : /GUEST RIP/);
    terminal.type("3");
    await shows(/^exact +0 +\d/);
    terminal.type("\r");
    await shows(/^MMIO +ledger +432 /);
    terminal.type("q");
    expect(await top.ended).toMatchObject({ status: 0, signal: null });
  });

  it.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("gives the terminal back after %s", async (signal) => {
    const terminal = new Terminal();
    terminals.push(terminal);
    const before = terminal.settings();
    const top = terminal.start(scratch, ["top"]);
    await terminal.until("sorted by");
    top.signal(signal);
    expect((await top.ended).status).toBe(0);
    expect(terminal.text().endsWith("\x1b[?1049l")).toBe(true);
    expect(terminal.settings()).toBe(before);
  });
});

describe("perf-kvm", () => {
  it("prints its help, with examples, on stdout", async () => {
    for (const args of [["--help"], ["top", "--help"]]) {
      const { status, stdout, stderr } = await scratch.run(args);
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      expect(stdout).toContain("Examples:");
    }
    expect((await scratch.run(["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it.each([
    [["tap"], "unknown command 'tap'"],
    [["top", "--fast"], "--fast"],
    [["top", "--vm", "no-such-machine"], "--vm no-such-machine: no such machine"],
    [["top", "--vm", "999999999"], "--vm 999999999: no such machine"],
    [["top", "--interval", "0"], "--interval 0: seconds, from 0.05 to 86400"],
    [["top", "--interval", "-1"], "--interval -1: seconds"],
    [["top", "--duration", "soon"], "--duration soon: seconds"],
    [["top", "--duration", "1e9"], "--duration 1e9: seconds"],
    [["top", "--source", "tarot"], "--source tarot: some of tracepoints, ledger, stats, instructions"],
    [["top", "--count", "0"], "--count 0: reports, from 1"],
    [["top", "demo"], "too many arguments"],
  ])("refuses %j in one line, with status 2", async (args, words) => {
    const { status, stdout, stderr } = await scratch.run(args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(/^perf-kvm: [^\n]+\n$/);
    expect(stderr).toContain(words);
  });
});
