/** KVM's tracepoints, as tracefs tells them: an instance of its own for each test, and of its events only this process's. */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { skip } from "./expect.js";

const ROOTS = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
/** The inode of the first PID namespace (the kernel's PROC_PID_INIT_INO): tracefs knows PIDs of that one only. */
const FIRST_PID_NAMESPACE = "pid:[4026531836]";
const LINE = /-(\d+)\s+\[\d+\].*?: (kvm_\w+): (.*)$/;

export interface TraceEvent {
  readonly name: string;
  /** The event as its print format has it. */
  readonly text: string;
}

/** tracefs. @throws Skip where this process may not use it */
export function tracefs(): string {
  const root =
    ROOTS.find((path) => existsSync(`${path}/events/kvm`)) ??
    skip("no tracefs with KVM's events (it is root's, and must be mounted)");
  try {
    accessSync(`${root}/instances`, constants.W_OK);
  } catch {
    skip("tracefs is not writable: needs root");
  }
  if (readlinkSync("/proc/self/ns/pid") !== FIRST_PID_NAMESPACE) skip("tracefs counts PIDs outside this container");
  return root;
}

/** The lines of an event's format file. */
export function eventFormat(event: string): string {
  return readFileSync(`${tracefs()}/events/kvm/${event}/format`, "utf8");
}

/** What these events said while `load` ran. @throws Skip without tracefs or without one of the events */
export function traced(
  events: readonly string[],
  load: () => void,
  filters: Readonly<Record<string, string>> = {},
): TraceEvent[] {
  const root = tracefs();
  const missing = events.find((event) => !existsSync(`${root}/events/kvm/${event}`));
  if (missing !== undefined) skip(`this kernel has no ${missing}`);
  const instance = `${root}/instances/kernel-tests-${process.pid}`;
  mkdirSync(instance);
  try {
    writeFileSync(`${instance}/set_event_pid`, String(process.pid));
    for (const [event, filter] of Object.entries(filters))
      writeFileSync(`${instance}/events/kvm/${event}/filter`, filter);
    for (const event of events) writeFileSync(`${instance}/events/kvm/${event}/enable`, "1");
    load();
    writeFileSync(`${instance}/tracing_on`, "0");
    return parseTrace(readFileSync(`${instance}/trace`, "utf8"), process.pid);
  } finally {
    rmdirSync(instance);
  }
}

/** The events of one task in a file `trace`. */
export function parseTrace(text: string, pid: number): TraceEvent[] {
  return text.split("\n").flatMap((line) => {
    const [, task, name, said] = LINE.exec(line) ?? [];
    return name !== undefined && Number(task) === pid ? [{ name, text: said!.trim() }] : [];
  });
}
