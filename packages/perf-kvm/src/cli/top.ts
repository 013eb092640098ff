/** `perf-kvm top`: options, and the rhythm of looking and showing. */
import type { Report } from "../model/report.js";
import { jsonReport } from "../views/json.js";
import { plainReport } from "../views/plain.js";
import { EXIT } from "./errors.js";
import { seconds } from "./seconds.js";
import { watch } from "./watch.js";
import { filtered, openObserver, type WatchOptions, wholeNumber } from "./watch-options.js";

export interface TopOptions extends WatchOptions {
  readonly interval: string;
  readonly duration?: string;
  readonly count?: string;
  readonly json?: boolean;
}

/** The live table is there at once, with the machines, and has its first rows soon after. */
const EARLY_FRAMES_MS = [0, 150];

/** Something that shows reports. */
interface View {
  /** `total` gives what has happened since the beginning. */
  show(report: Report, total: () => Report): void;
  finish(total: Report): void;
  /** Resolves when the user has had enough; absent for views without keys. */
  readonly quit?: Promise<void>;
  close(): void;
}

export async function top(options: TopOptions): Promise<number> {
  const intervalMs = seconds("--interval", options.interval) * 1000;
  const durationMs = options.duration === undefined ? undefined : seconds("--duration", options.duration) * 1000;
  const count = options.count === undefined ? undefined : wholeNumber("--count", options.count, 1, 1e9, "reports");
  const only = (report: Report): Report => filtered(report, options.filter);
  const observer = openObserver(options);
  try {
    const view = await openView(options, durationMs !== undefined);
    try {
      const earlyMs = view.quit === undefined ? [] : EARLY_FRAMES_MS;
      await watch(observer, { intervalMs, earlyMs, durationMs, count, until: () => view.quit }, (report) => {
        view.show(only(report), () => only(observer.total()));
      });
      view.finish(only(observer.total()));
    } finally {
      view.close();
    }
  } finally {
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
