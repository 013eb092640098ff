/** The exits of a recording as OpenMetrics text. */

import { lostNote } from "../model/exit-intervals.js";
import { RecordingTally } from "../model/recording.js";
import type { PerfDataReader } from "../sources/perf-data/reader.js";
import type { ExportFormat } from "./format.js";
import { metrics } from "./metrics.js";
import type { Write } from "./output.js";

export const openmetrics: ExportFormat = {
  summary: "counters and histograms, for Prometheus",
  write(recording: PerfDataReader, write: Write): readonly string[] {
    const tally = new RecordingTally(recording);
    tally.run();
    const report = tally.report("detail");
    write(Buffer.from(metrics(report, "openmetrics"), "utf8"));
    return report.lost === 0 ? report.notes : [...report.notes, lostNote(report.lost)];
  },
};
