/**
 * Where the time of a machine's vCPUs went. Each part is told by the source that knows it best, and the host's kernel has
 * what remains: the parts add up to the time that passed.
 */
import type { ThreadTimes } from "../sources/thread-times.js";
import type { TracedTimes } from "./exit-tally.js";

/** In nanoseconds, all vCPUs of a machine together: four vCPUs have four seconds a second. */
export interface TimeSplit {
  readonly machine: string;
  readonly pid: number;
  readonly wallNs: number;
  readonly guestNs: number;
  /** Exits that KVM and the host's kernel dealt with, interrupts of the host among them. */
  readonly kernelNs: number;
  /** A halted vCPU was waited for on its CPU, in the hope that the wait is short. */
  readonly pollingNs: number;
  readonly userNs: number;
  /** In the handler of one of the machine's devices; null where no ledger tells it from the rest of user space. */
  readonly deviceNs: number | null;
  /** Halted, or waiting for something else. */
  readonly asleepNs: number;
  /** Ready to run, but no CPU was free. */
  readonly queuedNs: number;
  /** What told the guest's time: each exit's and entry's, or the kernel's ticks (10 ms), which is rough. */
  readonly guestFrom: "kvm_exit" | "ticks";
  readonly userFrom: "ledger" | "ticks";
}

/** What the sources of a machine told of the same period; what they do not know is undefined. */
export interface TimeSources {
  readonly threads: ThreadTimes;
  readonly traced?: TracedTimes;
  /** Handlers of devices, and everything else between two KVM_RUN. */
  readonly ledger?: { readonly deviceNs: number; readonly otherNs: number };
  /** Increase of KVM's counters. */
  readonly counters?: Readonly<Record<string, number>>;
}

export function timeSplit(name: string, pid: number, { threads, traced, ledger, counters }: TimeSources): TimeSplit {
  const { wallNs } = threads;
  let rest = wallNs;
  // Clocks that differ never make a part larger than what is left for it.
  const take = (ns: number): number => {
    const taken = Math.max(0, Math.min(ns, rest));
    rest -= taken;
    return taken;
  };
  // What is known to the nanosecond goes before what ticks tell.
  const tracedNs = take(traced?.guestNs ?? 0);
  const deviceNs = ledger === undefined ? null : take(ledger.deviceNs);
  const otherNs = take(ledger?.otherNs ?? 0);
  const guestNs = traced === undefined ? take(threads.guestNs) : tracedNs;
  const userNs = ledger === undefined ? take(threads.userNs) : otherNs;
  const asleepNs = take(wallNs - threads.runNs - threads.queuedNs);
  const pollingNs = take(counters === undefined ? (traced?.polledNs ?? 0) : polled(counters));
  // A handler's time goes on while its thread waits for a CPU: what the kernel had of the CPU is not the queue's.
  const handlersRunNs = ledger === undefined ? userNs : Math.min(userNs + (deviceNs ?? 0), threads.userNs);
  const kernelRunNs = Math.max(0, threads.runNs - guestNs - pollingNs - handlersRunNs);
  const queuedNs = take(Math.min(threads.queuedNs, rest - kernelRunNs));
  return {
    machine: name,
    pid,
    wallNs,
    guestNs,
    kernelNs: rest,
    pollingNs,
    userNs,
    deviceNs,
    asleepNs,
    queuedNs,
    guestFrom: traced === undefined ? "ticks" : "kvm_exit",
    userFrom: ledger === undefined ? "ticks" : "ledger",
  };
}

/** Polling that found something to do, and polling that did not and went to sleep. */
function polled({ halt_poll_success_ns = 0, halt_poll_fail_ns = 0 }: Readonly<Record<string, number>>): number {
  return halt_poll_success_ns + halt_poll_fail_ns;
}

/** Two periods of one machine, or two machines, as one; what only one of them knows exactly is rough. */
export function addSplits(a: TimeSplit, b: TimeSplit): TimeSplit {
  return {
    machine: a.machine,
    pid: a.pid,
    wallNs: a.wallNs + b.wallNs,
    guestNs: a.guestNs + b.guestNs,
    kernelNs: a.kernelNs + b.kernelNs,
    pollingNs: a.pollingNs + b.pollingNs,
    userNs: a.userNs + b.userNs,
    deviceNs: a.deviceNs === null && b.deviceNs === null ? null : (a.deviceNs ?? 0) + (b.deviceNs ?? 0),
    asleepNs: a.asleepNs + b.asleepNs,
    queuedNs: a.queuedNs + b.queuedNs,
    guestFrom: a.guestFrom === b.guestFrom ? a.guestFrom : "ticks",
    userFrom: a.userFrom === b.userFrom ? a.userFrom : "ticks",
  };
}
