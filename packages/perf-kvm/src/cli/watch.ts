/** The rhythm of looking, for `top` and `stat`: rings are emptied, machines found, reports made, until something ends it. */
import { withDescendants } from "../discover/proc.js";
import type { Observer } from "../model/observer.js";
import type { Report } from "../model/report.js";

/** Rings are emptied this often; a ring holds many times what a guest can do in between. */
const DRAIN_MS = 50;
/** Machines come and go at this pace. */
const RESCAN_MS = 1000;
/** A machine that does its work and ends lives for less. */
const LOOK_AT_COMMAND_MS = 20;

export interface Rhythm {
  /** Time between two reports; none but the last when left out. */
  readonly intervalMs?: number;
  /** Further reports, so long after the beginning. */
  readonly earlyMs?: readonly number[];
  readonly durationMs?: number;
  /** How many reports at most. */
  readonly count?: number;
  /** The process of a command whose machines are to be seen from their first exits on. */
  readonly command?: () => number | undefined;
  /** Called when all is ready, signals included; ends when what it gives resolves. */
  readonly until?: () => Promise<unknown> | undefined;
  /** Called for a signal; true when the watch goes on nevertheless. */
  readonly onSignal?: (signal: NodeJS.Signals) => boolean;
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Resolves when it has ended, after a last report of what has happened since the one before. */
export function watch(observer: Observer, rhythm: Rhythm, show: (report: Report) => void): Promise<void> {
  const { intervalMs, earlyMs = [], durationMs, count, command, until, onSignal } = rhythm;
  return new Promise((resolve, reject) => {
    const timers: NodeJS.Timeout[] = [];
    let isOver = false;
    const settle = (done: () => void): void => {
      if (isOver) return;
      isOver = true;
      for (const timer of timers) clearInterval(timer);
      for (const signal of SIGNALS) process.off(signal, onceOver);
      done();
    };
    const guarded = (work: () => void) => () => {
      try {
        work();
      } catch (error) {
        settle(() => reject(error));
      }
    };
    const end = (): void =>
      settle(() => {
        try {
          // What has happened since the last report: they add up to the total.
          if (shown !== count) show(observer.collect());
          resolve();
        } catch (error) {
          reject(error);
        }
      });
    const onceOver = (signal: NodeJS.Signals): void => {
      if (onSignal?.(signal) !== true) end();
    };
    let shown = 0;
    const report = guarded(() => {
      show(observer.collect());
      if (++shown === count) end();
    });
    const drain = guarded(() => observer.drain());
    const rescan = guarded(() => observer.rescan());
    timers.push(setInterval(drain, DRAIN_MS), setInterval(rescan, RESCAN_MS));
    if (command !== undefined) {
      const look = guarded(() => {
        const pid = command();
        if (pid !== undefined) observer.look(withDescendants(pid));
      });
      timers.push(setInterval(look, LOOK_AT_COMMAND_MS));
    }
    if (intervalMs !== undefined) timers.push(setInterval(report, intervalMs));
    for (const ms of earlyMs) timers.push(setTimeout(report, ms));
    if (durationMs !== undefined) timers.push(setTimeout(end, durationMs));
    for (const signal of SIGNALS) process.on(signal, onceOver);
    until?.()?.then(end, (error) => settle(() => reject(error)));
  });
}
