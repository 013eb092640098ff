/**
 * What it costs a guest to be watched: how many exits to user space it makes in a second while our commands look on, while
 * perf's do, and while nobody does; and what our commands take of a core themselves.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type BenchContext, BenchError, type Case, type Measurement, type Peer } from "../bench.js";
import { which } from "../find-program.js";
import type { Programs } from "../programs.js";
import { RunningMachine } from "../running-machine.js";

const PERF_KVM = fileURLToPath(new URL("../../../packages/perf-kvm/bin/perf-kvm.js", import.meta.url));
const EXITS = { full: 100_000, quick: 30_000 };
const WARM_UP_EXITS = 5000;
/** Neither perf nor we say when all is open: both have done so long before. */
const SETTLE_MS = 1000;
const TICKS_PER_SECOND = 100;
/** What is recorded where kvm_exit never fires; where it does, perf-kvm records kvm_exit and kvm_entry. */
const USERSPACE = "kvm:kvm_userspace_exit,kvm:kvm_pio,kvm:kvm_mmio";

/** A command that looks on; undefined is nobody. */
type Watcher = ((machine: RunningMachine) => string[]) | undefined;

interface Watched {
  readonly exitsPerSecond: number;
  /** Of one core, at 100,000 exits a second. */
  readonly percent: number;
}

export function watchingCosts({ programs, quick }: BenchContext): Case[] {
  const exits = quick ? EXITS.quick : EXITS.full;
  const file = join(programs.folder, "watched.data");
  const speed = (watcher: Watcher): Measurement => {
    return async () => (await watched(programs, watcher, exits)).exitsPerSecond;
  };
  const share = (watcher: Watcher): Measurement => {
    return async () => (await watched(programs, watcher, exits)).percent;
  };
  const ours =
    (...args: string[]): Watcher =>
    ({ name }) => [process.execPath, PERF_KVM, ...args, "--vm", name];
  const perf = (...args: string[]): Peer | { name: string; missing: string } => {
    const name = ["perf", ...args].join(" ");
    if (which("perf") === undefined) {
      return { name, missing: "no peer: perf is not installed; apt-get install linux-perf" };
    }
    return { name, measure: speed(({ pid }) => ["perf", ...args, "-p", String(pid)]) };
  };
  const record = ours("record", "-o", file);
  const top = ours("top", "--json");
  const traced = ours("top", "--json", "--source", "tracepoints");
  const unit = "exits/s";
  return [
    { name: "nobody watches", unit, ours: speed(undefined) },
    { name: "record, the same events", unit, ours: speed(record), peer: perf("record", "-o", file, "-e", USERSPACE) },
    { name: "record, peer all of KVM's", unit, ours: speed(record), peer: perf("record", "-o", file, "-e", "kvm:*") },
    { name: "top", unit, ours: speed(top), peer: perf("stat", "-e", "kvm:*") },
    { name: "top by tracepoints", unit, ours: speed(traced), peer: perf("record", "-o", file, "-e", "kvm:*") },
    { name: "CPU of top at 100k exits/s", unit: "%", ours: share(top) },
    { name: "CPU of top by tracepoints", unit: "%", ours: share(traced) },
    { name: "CPU of record", unit: "%", ours: share(record) },
  ];
}

async function watched(programs: Programs, watcher: Watcher, exits: number): Promise<Watched> {
  await using machine = await RunningMachine.start(programs);
  await machine.command(`exits pio ${WARM_UP_EXITS}`);
  const child = watcher === undefined ? undefined : programs.start(watcher(machine));
  child?.stdout.resume();
  child?.stderr.resume();
  child?.stdin.end();
  try {
    if (child !== undefined) await setTimeout(SETTLE_MS);
    const before = cpuSeconds(child?.pid);
    const said = await machine.command(`exits pio ${exits}`);
    const percent = ((cpuSeconds(child?.pid) - before) / exits) * 100_000 * 100;
    const ms = Number(/ in ([\d.]+) ms/.exec(said)?.[1]);
    if (!(ms > 0)) throw new BenchError(`the guest said ${JSON.stringify(said)}`);
    if (child !== undefined && child.exitCode !== null) throw new BenchError("the watcher has ended before its guest");
    return { exitsPerSecond: exits / (ms / 1000), percent };
  } finally {
    if (child !== undefined) await programs.stop(child);
  }
}

/** User and system time of a process so far (proc_pid_stat(5), fields 14 and 15); its threads' included. */
function cpuSeconds(pid: number | undefined): number {
  if (pid === undefined) return 0;
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1")
    .replace(/^.*\) /s, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
