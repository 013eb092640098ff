/** `perf-kvm diff`: what has changed from one recording to another. */
import { diffReports } from "../model/diff.js";
import { GROUPINGS, type Grouping, RecordingTally } from "../model/recording.js";
import type { Report } from "../model/report.js";
import { csvDiff, diffTable, jsonDiff } from "../views/diff-table.js";
import { CliError, EXIT } from "./errors.js";
import { withRecording } from "./recording.js";

export interface DiffOptions {
  readonly by: string;
  readonly json?: boolean;
  readonly csv?: boolean;
}

export async function diff(before: string, after: string, { by, json, csv }: DiffOptions): Promise<number> {
  const grouping = GROUPINGS.find((name) => name === by);
  if (grouping === undefined) throw new CliError(`--by ${by}: one of ${GROUPINGS.join(", ")}`);
  if (json && csv) throw new CliError("--json and --csv: one of them");
  if (before === "-" && after === "-") throw new CliError("-: standard input is one recording, not two");
  const found = diffReports(await reportOf(before, grouping), await reportOf(after, grouping));
  process.stdout.write(json ? jsonDiff(found) : csv ? csvDiff(found) : diffTable(found));
  return EXIT.OK;
}

function reportOf(path: string, grouping: Grouping): Promise<Report> {
  return withRecording(path, (reader) => {
    const tally = new RecordingTally(reader);
    tally.run();
    return tally.report(grouping);
  });
}
