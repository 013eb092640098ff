/** `perf-kvm report`: the exits of a recording. */
import { GROUPINGS, RecordingTally } from "../model/recording.js";
import type { Report } from "../model/report.js";
import { csvReport } from "../views/csv.js";
import { exitTable } from "../views/exit-table.js";
import { jsonReport } from "../views/json.js";
import { CliError, EXIT } from "./errors.js";
import { withRecording } from "./recording.js";

export interface ReportOptions {
  readonly input: string;
  readonly by: string;
  readonly json?: boolean;
  readonly csv?: boolean;
}

export async function report({ input, by, json, csv }: ReportOptions): Promise<number> {
  const grouping = GROUPINGS.find((name) => name === by);
  if (grouping === undefined) throw new CliError(`--by ${by}: one of ${GROUPINGS.join(", ")}`);
  if (json && csv) throw new CliError("--json and --csv: one of them");
  const found = await withRecording(input, (reader) => {
    const tally = new RecordingTally(reader);
    tally.run();
    return tally.report(grouping);
  });
  const text: (report: Report) => string = json ? (each) => jsonReport(each, "total") : csv ? csvReport : exitTable;
  process.stdout.write(text(found));
  return EXIT.OK;
}
