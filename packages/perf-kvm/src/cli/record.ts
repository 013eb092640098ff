/** `perf-kvm record`: the exits of running machines into a file. */
import { openMachine, processes, vcpuThreads } from "../discover/machines.js";
import { lookAtHost } from "../sources/host.js";
import { Recorder } from "../sources/recorder.js";
import { HARDWARE_EVENTS, USERSPACE_EVENTS } from "../sources/tracepoints.js";
import { formatCount } from "../views/format.js";
import { CliError, EXIT } from "./errors.js";
import { seconds } from "./seconds.js";

export interface RecordOptions {
  readonly output: string;
  readonly vm?: string;
  readonly duration?: string;
}

/** A ring holds many times what a guest can do in between. */
const DRAIN_MS = 50;

interface Target {
  readonly name: string;
  readonly pid: number;
  readonly tids: readonly number[];
}

export async function record({ output, vm, duration }: RecordOptions): Promise<number> {
  const durationMs = duration === undefined ? undefined : seconds("--duration", duration) * 1000;
  const targets = machines(vm);
  if (targets.length === 0) throw new CliError(vm === undefined ? "no VM is running" : `--vm ${vm}: no such machine`);
  const { tracepoints, notes } = lookAtHost();
  if (tracepoints === "none") throw new CliError(notes.join("; "), EXIT.FAILURE);
  const events = tracepoints === "hardware" ? HARDWARE_EVENTS : USERSPACE_EVENTS;
  const recorder = open(output, targets, events);
  recorder.enable();
  const names = targets.map(({ name, pid }) => `${name} (pid ${pid})`).join(", ");
  process.stderr.write(`recording ${names}${durationMs === undefined ? "; Ctrl-C ends it" : ""}\n`);
  for (const note of notes) process.stderr.write(`note: ${note}\n`);
  await untilEnd(recorder, targets, durationMs);
  recorder.finish();
  process.stderr.write(`${output}: ${formatCount(recorder.recordedBytes)}B of records\n`);
  return EXIT.OK;
}

function open(
  path: string,
  targets: readonly Target[],
  events: typeof HARDWARE_EVENTS | typeof USERSPACE_EVENTS,
): Recorder {
  try {
    return new Recorder(path, targets, events, ["perf-kvm", ...process.argv.slice(2)]);
  } catch (error) {
    throw new CliError((error as Error).message, EXIT.FAILURE);
  }
}

function machines(vm: string | undefined): Target[] {
  return processes().flatMap((pid) => {
    if (pid === process.pid) return [];
    const machine = openMachine(pid);
    if (machine === undefined) return [];
    const { name } = machine;
    const tids = vcpuThreads(machine).map(({ tid }) => tid);
    machine.ledger?.close();
    return vm === undefined || vm === name || vm === String(pid) ? [{ name, pid, tids }] : [];
  });
}

/** Until the time is over, a signal comes, or the last machine is gone. */
function untilEnd(recorder: Recorder, targets: readonly Target[], durationMs: number | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timers: NodeJS.Timeout[] = [];
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
    const settle = (error?: Error): void => {
      for (const timer of timers) clearInterval(timer);
      for (const signal of signals) process.off(signal, end);
      if (error === undefined) resolve();
      else reject(error);
    };
    const end = (): void => settle();
    const drain = (): void => {
      try {
        recorder.drain();
        if (!targets.some(({ pid }) => isAlive(pid))) settle();
      } catch (error) {
        settle(error as Error);
      }
    };
    timers.push(setInterval(drain, DRAIN_MS));
    if (durationMs !== undefined) timers.push(setTimeout(end, durationMs));
    for (const signal of signals) process.once(signal, end);
  });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
