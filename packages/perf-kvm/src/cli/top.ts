/** `perf-kvm top`: options, and the rhythm of looking and showing. */
import { Observer, SOURCE_NAMES, type SourceName } from "../model/observer.js";
import type { Report } from "../model/report.js";
import { jsonReport } from "../views/json.js";
import { plainReport } from "../views/plain.js";
import { CliError, EXIT } from "./errors.js";
import { seconds } from "./seconds.js";

export interface TopOptions {
  readonly vm?: string;
  readonly interval: string;
  readonly duration?: string;
  readonly source?: string;
  readonly json?: boolean;
}

/** Rings are emptied this often; a ring holds many times what a guest can do in between. */
const DRAIN_MS = 50;
/** Machines come and go at this pace. */
const RESCAN_MS = 1000;
/** The live table is there at once, then fills. */
const FIRST_FRAME_MS = 100;

/** Something that shows reports. */
interface View {
  show(report: Report): void;
  finish(total: Report): void;
  /** Resolves when the user has had enough; absent for views without keys. */
  readonly quit?: Promise<void>;
  close(): void;
}

export async function top(options: TopOptions): Promise<number> {
  const intervalMs = seconds("--interval", options.interval) * 1000;
  const durationMs = options.duration === undefined ? undefined : seconds("--duration", options.duration) * 1000;
  const observer = new Observer({ vm: options.vm, sources: sources(options.source) });
  if (options.vm !== undefined && observer.size === 0) {
    const others = new Observer({ sources: ["ledger"] });
    const names = others.collect().machines.map(({ name, pid }) => `${name} (pid ${pid})`);
    others.close();
    observer.close();
    throw new CliError(
      `--vm ${options.vm}: no such machine; ${names.length === 0 ? "none is running" : `there are ${names.join(", ")}`}`,
    );
  }
  const view = await openView(options, durationMs !== undefined);
  try {
    await watchMachines(observer, view, intervalMs, durationMs);
  } finally {
    view.close();
    observer.close();
  }
  return EXIT.OK;
}

async function openView({ json }: TopOptions, totalOnly: boolean): Promise<View> {
  const { stdout } = process;
  if (json) {
    return {
      show: (report) => void stdout.write(jsonReport(report, "interval")),
      finish: (total) => void stdout.write(jsonReport(total, "total")),
      close: () => {},
    };
  }
  if (stdout.isTTY && process.stdin.isTTY) return (await import("../views/tui.js")).openTui();
  return {
    show: (report) => void (totalOnly || stdout.write(`${plainReport(report)}\n`)),
    finish: (total) => void (totalOnly && stdout.write(plainReport(total))),
    close: () => {},
  };
}

/** Until the duration is over, the user quits, or a signal comes. */
function watchMachines(observer: Observer, view: View, intervalMs: number, durationMs?: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timers: NodeJS.Timeout[] = [];
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
    const guarded = (work: () => void) => () => {
      try {
        work();
      } catch (error) {
        settle(() => reject(error));
      }
    };
    const settle = (done: () => void): void => {
      for (const timer of timers) clearInterval(timer);
      for (const signal of signals) process.off(signal, end);
      done();
    };
    const frame = guarded(() => view.show(observer.collect()));
    const end = (): void =>
      settle(() => {
        try {
          // What has happened since the last frame: the frames add up to the total.
          view.show(observer.collect());
          view.finish(observer.total());
          resolve();
        } catch (error) {
          reject(error);
        }
      });
    timers.push(
      setInterval(
        guarded(() => observer.drain()),
        DRAIN_MS,
      ),
      setInterval(
        guarded(() => observer.rescan()),
        RESCAN_MS,
      ),
      setInterval(frame, intervalMs),
    );
    if (view.quit !== undefined) timers.push(setTimeout(frame, FIRST_FRAME_MS));
    if (durationMs !== undefined) timers.push(setTimeout(end, durationMs));
    for (const signal of signals) process.once(signal, end);
    view.quit?.then(end);
  });
}

function sources(list: string | undefined): SourceName[] | undefined {
  return list?.split(",").map((word) => {
    const name = SOURCE_NAMES.find((known) => known === word.trim());
    if (name === undefined) throw new CliError(`--source ${list}: some of ${SOURCE_NAMES.join(", ")}`);
    return name;
  });
}
