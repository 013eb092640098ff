/** `perf-kvm record`, `report`, `diff` and `script` as commands: real machines, real files, one clear line for what is wrong. */
import { mkdirSync, openSync, readdirSync, readFileSync } from "node:fs";
import { hasKvm, NEEDS_KVM, PERF_KVM, Scratch } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import type { Report } from "../model/report.js";
import { lookAtHost } from "../sources/host.js";
import { type Happening, hasPerf, perf, twoVcpus, write } from "../sources/perf-data/testing.js";

vi.setConfig({ testTimeout: 60_000 });
const scratch = new Scratch(PERF_KVM);
afterAll(() => scratch.close());

const exits = scratch.path("exits.data");
const happenings = twoVcpus(300);
write(exits, happenings);

describe("perf-kvm diff", () => {
  const fewer = scratch.path("fewer.data");
  write(fewer, happenings.slice(0, 300));

  it("prints both sides of each kind of exit", async () => {
    const { status, stdout, stderr } = await scratch.run(["diff", exits, fewer, "--by", "reason"]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/^IOIO +- +198 +98 /m);
    const csv = (await scratch.run(["diff", exits, fewer, "--csv"])).stdout.split("\r\n");
    expect(csv[0]).toMatch(/^vcpu,reason,detail,countBefore,countAfter,/);
    const json = JSON.parse((await scratch.run(["diff", fewer, exits, "--json"])).stdout);
    expect(json.rows).toHaveLength(2);
  });

  it.each([
    [["diff", exits], 2, "missing required argument 'after'"],
    [["diff", exits, exits, "--by", "cpu"], 2, "--by cpu: one of reason, detail, vcpu"],
    [["diff", "-", "-"], 2, "-: standard input is one recording, not two"],
    [["diff", exits, scratch.path("none")], 1, "there is no such file"],
  ])("says in one line what is wrong: %j", async (args, status, why) => {
    const found = await scratch.run(args);
    expect(found.status).toBe(status);
    expect(found.stderr).toContain(why);
    expect(found.stderr.trimEnd()).not.toContain("\n");
  });
});

describe("perf-kvm export", () => {
  it("writes to standard output, or into a file that is whole or as it was", async () => {
    const { status, stdout, stderr } = await scratch.run(["export", "--to", "csv", exits]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout.trimEnd().split("\r\n")).toHaveLength(1 + 298);
    const out = scratch.file("exits.json", "as it was");
    const cut = scratch.file("cut.data", readFileSync(exits).subarray(0, 9000));
    const failed = await scratch.run(["export", "--to", "json", "-o", out, cut]);
    expect([failed.status, failed.stdout, readFileSync(out, "utf8")]).toEqual([1, "", "as it was"]);
    expect(failed.stderr).toMatch(/^perf-kvm: .*cut\.data: .*byte \d+.*\n$/);
    expect((await scratch.run(["export", "--to", "json", "-o", out, exits])).status).toBe(0);
    expect(JSON.parse(readFileSync(out, "utf8")).exits).toHaveLength(298);
    expect(readdirSync(scratch.folder).filter((name) => name.endsWith(".part"))).toEqual([]);
  });

  it.each([
    [["export", exits], 2, "required option '--to <format>'"],
    [
      ["export", exits, "--to", "svg"],
      2,
      "--to svg: one of firefox, speedscope, folded, pprof, csv, openmetrics, json",
    ],
    [["export", exits, "--to", "constructor"], 2, "--to constructor: one of"],
    [["export", exits, "--to", "folded", "--value", "mass"], 2, "--value mass: one of time, count"],
    [["export", scratch.path("none"), "--to", "csv"], 1, "there is no such file"],
    [["export", exits, "--to", "csv", "-o", "/nowhere/exits.csv"], 1, "--output /nowhere/exits.csv: "],
  ])("says in one line what is wrong: %j", async (args, status, why) => {
    const found = await scratch.run(args);
    expect(found.status).toBe(status);
    expect(found.stderr).toContain(why);
    expect(found.stderr.trimEnd()).not.toContain("\n");
  });
});

describe("perf-kvm report", () => {
  it("prints a table", async () => {
    const { status, stdout, stderr } = await scratch.run(["report", "-i", exits]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/^vmm \(pid 1000, 2 vCPU\); 0\.003 s\n/);
    expect(stdout).toMatch(/^REASON +DETAIL +COUNT +TIME +MIN +AVG +P99 +MAX$/m);
    expect(stdout).toMatch(/^IOIO +0x3f8 out +198 +66\.4% +19\.5 us +19\.5 us/m);
    expect(stdout).toMatch(/^CPUID +- +100 +33\.6%/m);
  });

  it("is one object with --json, lines of values with --csv", async () => {
    const json = JSON.parse((await scratch.run(["report", "-i", exits, "--json", "--by", "reason"])).stdout) as Report;
    expect(json.machines).toEqual([{ name: "vmm", pid: 1000, vcpus: 2, sources: ["kvm_exit"] }]);
    expect(json.rows.map(({ reason, detail, count }) => [reason, detail, count]).sort()).toEqual([
      ["CPUID", "", 100],
      ["IOIO", "", 198],
    ]);
    const csv = (await scratch.run(["report", "-i", exits, "--csv", "--by", "vcpu"])).stdout.split("\r\n");
    expect(csv[0]).toBe("machine,pid,vcpu,source,reason,detail,count,share,avgNs,minNs,maxNs,p99Ns");
    expect(csv.slice(1).map((line) => line.split(",").slice(2, 7).join(","))).toEqual([
      "0,kvm_exit,IOIO,0x3f8 out,99",
      "0,kvm_exit,CPUID,,50",
      "1,kvm_exit,IOIO,0x3f8 out,99",
      "1,kvm_exit,CPUID,,50",
      "",
    ]);
  });

  it("reads a stream from standard input", async () => {
    const fd = openSync(exits, "r");
    const file = await scratch.run(["report", "-i", "-"], { stdio: [fd, openSync(scratch.path("out"), "w"), 2] });
    expect(file.status).toBe(0);
    expect(readFileSync(scratch.path("out"), "latin1")).toContain("IOIO");
  });

  it.each([
    [["report", "-i", scratch.path("none")], "there is no such file", 1],
    [["report", "-i", scratch.folder], "is a folder", 1],
    [["report", "-i", scratch.file("text", "hello, this is no recording")], "perf.data, byte 0: it is no perf.data", 1],
    [["report", "-i", scratch.file("empty", "")], "perf.data, byte 0: 16 bytes should follow", 1],
    [["script", "-i", scratch.path("none")], "there is no such file", 1],
    [["report", "-i", exits, "--by", "moon"], "--by moon: one of reason, detail, vcpu", 2],
    [["report", "-i", exits, "--json", "--csv"], "--json and --csv: one of them", 2],
    [["report", "-i", exits, "--guest-vmlinux", scratch.path("none")], "guest symbols: ", 2],
    [["record", "-e", "exits,moon"], "--event exits,moon: some of exits, cpu-clock, cycles", 2],
    [["record", "-e", "cpu-clock", "-F", "99999999"], "--frequency 99999999: samples a second, from 1 to ", 2],
    [["record", "--vm", "no-such-machine"], "--vm no-such-machine: no such machine", 2],
    [["record", "--duration", "never"], "--duration never: seconds", 2],
  ])("refuses %j in one line", async (args, words, code) => {
    const { status, stdout, stderr } = await scratch.run(args);
    expect({ status, stdout }).toEqual({ status: code, stdout: "" });
    expect(stderr).toMatch(/^perf-kvm: [^\n]+\n$/);
    expect(stderr).toContain(words);
  });
});

describe("perf-kvm script", () => {
  it("prints one line an event, with its fields by name", async () => {
    const { status, stdout } = await scratch.run(["script", "-i", exits]);
    const lines = stdout.trimEnd().split("\n");
    expect([status, lines.length]).toEqual([0, 600]);
    expect(lines[0]).toBe("             vmm  1000 [000]     1.000000000:          kvm:kvm_entry: vcpu_id=0");
    expect(lines[1]).toMatch(/kvm:kvm_exit: exit_reason=CPUID guest_rip=0x0 isa=2 info1=0x3f80000 info2=0x0$/);
  });

  it("ends quietly when its reader goes away", async () => {
    const large = scratch.path("large.data");
    write(
      large,
      Array.from({ length: 20_000 }, (_, i): Happening => ({ event: "kvm_entry", ns: 1e9 + i, tid: 1000 })),
    );
    const script = scratch.start(["script", "-i", large], { unread: true });
    script.child.stdout!.destroy();
    expect(await script.ended).toMatchObject({ status: 0, stderr: "" });
  });
});

const canTrace = lookAtHost().tracepoints !== "none";
const needs = hasKvm ? (canTrace ? "" : " (needs tracepoints)") : NEEDS_KVM;
describe.skipIf(!hasKvm || !canTrace)(`perf-kvm record${needs}`, () => {
  it("has every exit of a machine, for report and for perf", async () => {
    const path = scratch.path("recorded.data");
    const machine = await scratch.machine("recorded");
    const record = scratch.start(["record", "--vm", "recorded", "-o", path]);
    await record.until("recording recorded (pid");
    const from = machine.stdout.length;
    machine.type("exits pio 2000\r");
    await machine.until("kvm> ", from);
    machine.type("poweroff\r");
    await machine.ended;
    expect((await record.ended).status).toBe(0);
    const { rows, lost } = JSON.parse((await scratch.run(["report", "-i", path, "--json"])).stdout) as Report;
    expect(lost).toBe(0);
    expect(rows.find(({ detail }) => detail === "0xe0 out")).toMatchObject({ count: 2000, pid: machine.pid });
    if (!hasPerf) return;
    const theirs = perf("script", "--ns", "-F", "comm,tid,cpu,time,event", "-i", path)!.trimEnd().split("\n");
    const ours = (await scratch.run(["script", "-i", path])).stdout.trimEnd().split("\n");
    expect(ours.map((line, index) => line.slice(0, theirs[index]?.trimEnd().length))).toEqual(
      theirs.map((line) => line.trimEnd()),
    );
  });

  it("overwrites nothing that it may not write, and says so", async () => {
    await scratch.machine("unwritable");
    mkdirSync(scratch.path("folder"), { recursive: true });
    const { status, stderr } = await scratch.run(["record", "--vm", "unwritable", "-o", scratch.path("folder")]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^perf-kvm: EISDIR[^\n]*\n$/);
  });
});
