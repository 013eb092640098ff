/** One line an exit (RFC 4180). Of an exit of which only the moment is known, the duration is an empty field. */
import { ExitIntervals } from "../model/exit-intervals.js";
import type { PerfDataReader } from "../sources/perf-data/reader.js";
import { csvLines } from "../views/csv.js";
import type { ExportFormat } from "./format.js";
import { TextOutput, type Write } from "./output.js";

const COLUMNS = ["timeNs", "durationNs", "machine", "pid", "tid", "vcpu", "reason", "detail"];

export const csv: ExportFormat = {
  summary: "a line an exit, for spreadsheets and databases",
  write(recording: PerfDataReader, write: Write): readonly string[] {
    const output = new TextOutput(write);
    output.text(csvLines([COLUMNS]));
    const intervals = new ExitIntervals(recording);
    for (const { thread, kind, startNs, endNs } of intervals.read()) {
      const timeNs = (intervals.timeBaseNs + BigInt(startNs)).toString();
      const durationNs = Number.isNaN(endNs) ? undefined : endNs - startNs;
      const { pid, tid, vcpu } = thread;
      const who = [intervals.machineOf(thread), pid, tid, vcpu < 0 ? undefined : vcpu];
      output.text(csvLines([[timeNs, durationNs, ...who, kind.reason, kind.detail]]));
    }
    output.flush();
    return intervals.notes();
  },
};
