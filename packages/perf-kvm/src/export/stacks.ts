/** The exits of a recording added up as stacks: machine, vCPU, reason, detail. */

import { lostNote } from "../model/exit-intervals.js";
import { RecordingTally } from "../model/recording.js";
import type { PerfDataReader } from "../sources/perf-data/reader.js";

export interface ExitStack {
  /** From the outside in. */
  readonly frames: readonly string[];
  readonly count: number;
  /** Nanoseconds away from the guest; null where the recording does not tell. */
  readonly awayNs: number | null;
}

export interface ExitStacks {
  readonly stacks: readonly ExitStack[];
  /** How long the recording is. */
  readonly seconds: number;
  readonly notes: readonly string[];
}

/** Reads the recording. Throws PerfDataError. */
export function exitStacks(recording: PerfDataReader): ExitStacks {
  const tally = new RecordingTally(recording);
  tally.run();
  const { rows, seconds, notes, lost } = tally.report("vcpu");
  const stacks = rows.map(({ machine, pid, vcpu, reason, detail, count, avgNs }) => ({
    frames: [
      `${machine} (pid ${pid})`,
      vcpu === undefined || vcpu < 0 ? "vCPU ?" : `vCPU ${vcpu}`,
      ...(detail === "" ? [reason] : [reason, detail]),
    ],
    count,
    awayNs: avgNs === null ? null : Math.round(avgNs * count),
  }));
  return { stacks, seconds, notes: lost === 0 ? notes : [...notes, lostNote(lost)] };
}
