/** `perf-kvm report`: the exits of a recording. */
import { GuestSampleTally } from "../model/guest-samples.js";
import { GROUPINGS, RecordingTally } from "../model/recording.js";
import { csvReport } from "../views/csv.js";
import { exitTable } from "../views/exit-table.js";
import { guestSampleTable } from "../views/guest-sample-table.js";
import { jsonReport } from "../views/json.js";
import { CliError, EXIT } from "./errors.js";
import { type GuestSymbolOptions, guestSymbolsOf } from "./guest-symbol-options.js";
import { withRecording } from "./recording.js";

export interface ReportOptions extends GuestSymbolOptions {
  readonly input: string;
  readonly by: string;
  readonly json?: boolean;
  readonly csv?: boolean;
}

export async function report({ input, by, json, csv, ...guest }: ReportOptions): Promise<number> {
  const grouping = GROUPINGS.find((name) => name === by);
  if (grouping === undefined) throw new CliError(`--by ${by}: one of ${GROUPINGS.join(", ")}`);
  if (json && csv) throw new CliError("--json and --csv: one of them");
  const symbolsOf = guestSymbolsOf(guest);
  const { found, samples } = await withRecording(input, (reader) => {
    const sampled = new GuestSampleTally(reader);
    const tally = new RecordingTally(reader, (batch) => sampled.consume(batch));
    tally.run();
    return { found: tally.report(grouping), samples: sampled.report(symbolsOf) };
  });
  if (json) {
    process.stdout.write(jsonReport(samples === undefined ? found : { ...found, samples }, "total"));
    return EXIT.OK;
  }
  process.stdout.write(csv ? csvReport(found) : exitTable(found));
  if (samples !== undefined && !csv) process.stdout.write(guestSampleTable(samples));
  return EXIT.OK;
}
