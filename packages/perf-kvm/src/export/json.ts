/** One object; each exit on a line of its own, so that a text tool can pick some out as well. */
import { ExitIntervals } from "../model/exit-intervals.js";
import type { PerfDataReader } from "../sources/perf-data/reader.js";
import type { ExportFormat } from "./format.js";
import { TextOutput, type Write } from "./output.js";

export const json: ExportFormat = {
  summary: "one object with every exit, for programs",
  write(recording: PerfDataReader, write: Write): readonly string[] {
    const output = new TextOutput(write);
    const intervals = new ExitIntervals(recording);
    output.text('{"version":1,"exits":[');
    let separator = "\n";
    for (const { thread, kind, startNs, endNs } of intervals.read()) {
      const { reason, detail } = kind;
      const durationNs = Number.isNaN(endNs) ? null : endNs - startNs;
      output.text(separator + JSON.stringify({ startNs, durationNs, tid: thread.tid, reason, detail }));
      separator = ",\n";
    }
    const threads = intervals.threads.map((thread) => {
      const { tid, pid, vcpu } = thread;
      return { tid, pid, vcpu: vcpu < 0 ? null : vcpu, machine: intervals.machineOf(thread) };
    });
    const { lost } = recording;
    const rest = { threads, timeBaseNs: intervals.timeBaseNs.toString(), lost };
    output.text(`\n],${JSON.stringify(rest).slice(1)}\n`);
    output.flush();
    return intervals.notes();
  },
};
