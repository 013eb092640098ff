/** `perf-kvm record`: the exits of running machines into a file, and samples of where their vCPUs are. */
import { openMachine, processes, vcpuThreads } from "../discover/machines.js";
import { lookAtHost } from "../sources/host.js";
import { Recorder } from "../sources/recorder.js";
import { largestFrequencyHz, SAMPLE_EVENT_NAMES, type SampleEvent, sampleEvent } from "../sources/sample-events.js";
import { HARDWARE_EVENTS, USERSPACE_EVENTS } from "../sources/tracepoints.js";
import { formatCount } from "../views/format.js";
import { CliError, EXIT } from "./errors.js";
import { seconds } from "./seconds.js";
import { wholeNumber } from "./watch-options.js";

export interface RecordOptions {
  readonly output: string;
  readonly vm?: string;
  readonly duration?: string;
  readonly event: string;
  readonly frequency: string;
}

/** A ring holds many times what a guest can do in between. */
const DRAIN_MS = 50;

interface Target {
  readonly name: string;
  readonly pid: number;
  readonly tids: readonly number[];
}

/** What `-e` knows beside the samples' events. */
const EXITS = "exits";

export async function record({ output, vm, duration, event, frequency }: RecordOptions): Promise<number> {
  const wanted = wantedEvents(event, frequency);
  const durationMs = duration === undefined ? undefined : seconds("--duration", duration) * 1000;
  const targets = machines(vm);
  if (targets.length === 0) throw new CliError(vm === undefined ? "no VM is running" : `--vm ${vm}: no such machine`);
  const { tracepoints, notes } = lookAtHost();
  if (wanted.exits && tracepoints === "none") throw new CliError(notes.join("; "), EXIT.FAILURE);
  const events = !wanted.exits ? NO_EVENTS : tracepoints === "hardware" ? HARDWARE_EVENTS : USERSPACE_EVENTS;
  const recorder = open(output, targets, events, wanted.sampled);
  recorder.enable();
  const names = targets.map(({ name, pid }) => `${name} (pid ${pid})`).join(", ");
  process.stderr.write(`recording ${names}${durationMs === undefined ? "; Ctrl-C ends it" : ""}\n`);
  for (const note of wanted.exits ? notes : []) process.stderr.write(`note: ${note}\n`);
  await untilEnd(recorder, targets, durationMs);
  recorder.finish();
  process.stderr.write(`${output}: ${formatCount(recorder.recordedBytes)}B of records\n`);
  return EXIT.OK;
}

interface Wanted {
  readonly exits: boolean;
  readonly sampled: readonly SampleEvent[];
}

const NO_EVENTS = [] as const;

function wantedEvents(list: string, frequency: string): Wanted {
  const frequencyHz = wholeNumber("--frequency", frequency, 1, largestFrequencyHz(), "samples a second");
  const names = [...new Set(list.split(",").map((name) => name.trim()))];
  for (const name of names) {
    if (name !== EXITS && !SAMPLE_EVENT_NAMES.includes(name))
      throw new CliError(`--event ${list}: some of ${[EXITS, ...SAMPLE_EVENT_NAMES].join(", ")}`);
  }
  const sampled = names.filter((name) => name !== EXITS).map((name) => sampleEvent(name, frequencyHz));
  return { exits: names.includes(EXITS), sampled };
}

function open(
  path: string,
  targets: readonly Target[],
  events: typeof HARDWARE_EVENTS | typeof USERSPACE_EVENTS | typeof NO_EVENTS,
  sampled: readonly SampleEvent[],
): Recorder {
  try {
    return new Recorder(path, targets, events, ["perf-kvm", ...process.argv.slice(2)], sampled);
  } catch (error) {
    const { errnoName } = error as { errnoName?: string };
    if (errnoName === "ENOENT" && sampled.some(({ name }) => name === "cycles"))
      throw new CliError("-e cycles: this host's processor shows no such counter; take -e cpu-clock", EXIT.FAILURE);
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
