/** What the scheduler knows of vCPU threads: time on a CPU, in the guest, in user space, and in the queue for a CPU. */
import { monotonicNs } from "@tools-kvm/kvm-binding";
import { textOf } from "../discover/proc.js";

/** proc(5): /proc/PID/stat counts in ticks of USER_HZ, which is 100 wherever KVM is. */
const TICK_NS = 1e7;
/** Fields of /proc/PID/stat after the name in brackets: utime, guest_time. */
const UTIME = 11;
const GUEST_TIME = 40;

export interface ThreadTimes {
  /** Time that passed, for all threads together. */
  readonly wallNs: number;
  /** On a CPU, in the guest too (schedstat, to the nanosecond). */
  readonly runNs: number;
  /** Ready to run, but no CPU was free (schedstat). */
  readonly queuedNs: number;
  /** In the guest, and in user space, by the ticks of the kernel. */
  readonly guestNs: number;
  readonly userNs: number;
}

interface Reading {
  readonly nowNs: number;
  readonly runNs: number;
  readonly queuedNs: number;
  readonly guestNs: number;
  readonly userNs: number;
}

export class ThreadTimesSource {
  readonly #pid: number;
  readonly #proc: string;
  readonly #threads = new Map<number, Reading>();

  constructor(pid: number, proc = "/proc") {
    this.#pid = pid;
    this.#proc = proc;
  }

  get size(): number {
    return this.#threads.size;
  }

  /** Counts these threads from now on, or from when they were first named. */
  follow(tids: readonly number[]): void {
    const wanted = new Set(tids);
    for (const tid of this.#threads.keys()) if (!wanted.has(tid)) this.#threads.delete(tid);
    for (const tid of wanted) {
      const reading = this.#threads.has(tid) ? undefined : this.#read(tid);
      if (reading !== undefined) this.#threads.set(tid, reading);
    }
  }

  /** What has happened since the last call, of all threads together; undefined when none is known. */
  collect(): ThreadTimes | undefined {
    const sum = { wallNs: 0, runNs: 0, queuedNs: 0, guestNs: 0, userNs: 0 };
    for (const [tid, before] of this.#threads) {
      const now = this.#read(tid);
      if (now === undefined) {
        this.#threads.delete(tid);
        continue;
      }
      this.#threads.set(tid, now);
      sum.wallNs += now.nowNs - before.nowNs;
      for (const name of ["runNs", "queuedNs", "guestNs", "userNs"] as const) sum[name] += now[name] - before[name];
    }
    return sum.wallNs > 0 ? sum : undefined;
  }

  #read(tid: number): Reading | undefined {
    const folder = `${this.#proc}/${this.#pid}/task/${tid}`;
    const stat = textOf(`${folder}/stat`);
    const scheduled = /^(\d+) (\d+) /.exec(textOf(`${folder}/schedstat`) ?? "");
    if (stat === undefined || scheduled === null) return undefined;
    // The name may have brackets and blanks in it; nothing behind the last bracket has.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const guestTicks = Number(fields[GUEST_TIME] ?? 0);
    return {
      nowNs: monotonicNs(),
      runNs: Number(scheduled[1]),
      queuedNs: Number(scheduled[2]),
      guestNs: TICK_NS * guestTicks,
      // utime has guest_time in it.
      userNs: TICK_NS * (Number(fields[UTIME] ?? 0) - guestTicks),
    };
  }
}
