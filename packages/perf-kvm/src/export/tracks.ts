/** Every exit of a recording, track by track: for formats that have each vCPU's exits together. */
import { ExitIntervals, type ExitKind, type RecordedThread } from "../model/exit-intervals.js";
import type { PerfDataReader } from "../sources/perf-data/reader.js";
import { ExportError } from "./format.js";
import type { SampleTracks } from "./sample-tracks.js";

/** 20 bytes each: 320 MiB. */
const MOST_EXITS = 2 ** 24;
const FIRST_EXITS = 1024;

/** The exits of one vCPU thread, in the order in which they ended. */
export class Track {
  readonly thread: RecordedThread;
  length = 0;
  kind = new Int32Array(FIRST_EXITS);
  startNs = new Float64Array(FIRST_EXITS);
  /** NaN where only the moment is known. */
  endNs = new Float64Array(FIRST_EXITS);

  constructor(thread: RecordedThread) {
    this.thread = thread;
  }

  add(kind: number, startNs: number, endNs: number): void {
    if (this.length === this.kind.length) {
      this.kind = grown(this.kind, Int32Array);
      this.startNs = grown(this.startNs, Float64Array);
      this.endNs = grown(this.endNs, Float64Array);
    }
    this.kind[this.length] = kind;
    this.startNs[this.length] = startNs;
    this.endNs[this.length++] = endNs;
  }
}

function grown<Column extends Int32Array | Float64Array>(column: Column, Kind: new (length: number) => Column): Column {
  const larger = new Kind(2 * column.length);
  larger.set(column);
  return larger;
}

export interface Tracks {
  readonly tracks: readonly Track[];
  readonly kinds: readonly ExitKind[];
  /** What a track is called: machine and vCPU. */
  nameOf(thread: RecordedThread): string;
  machineOf(thread: RecordedThread): string;
  /** From 0 to here all exits lie, in nanoseconds. */
  readonly endNs: number;
  readonly notes: readonly string[];
}

/** Reads the recording, and its samples where they are asked for. Throws PerfDataError, ExportError. */
export function readTracks(recording: PerfDataReader, samples?: SampleTracks): Tracks {
  const intervals = new ExitIntervals(recording, samples?.add);
  const tracks: Track[] = [];
  let count = 0;
  let lastNs = 0;
  for (const { thread, kind, startNs, endNs } of intervals.read()) {
    if (++count > MOST_EXITS)
      throw new ExportError(`it has more than ${MOST_EXITS} exits, which no viewer shows; csv and json have no limit`);
    tracks[thread.index] ??= new Track(thread);
    tracks[thread.index]!.add(kind.index, startNs, endNs);
    lastNs = Math.max(lastNs, startNs, Number.isNaN(endNs) ? 0 : endNs);
  }
  const machineOf = (thread: RecordedThread): string => intervals.machineOf(thread);
  for (const thread of intervals.threads)
    if (samples?.of(thread) !== undefined) tracks[thread.index] ??= new Track(thread);
  return {
    // Threads of which nothing is shown leave gaps.
    tracks: tracks.filter((track) => track !== undefined),
    kinds: intervals.kinds,
    nameOf: (thread) => `${machineOf(thread)} ${thread.vcpu < 0 ? `thread ${thread.tid}` : `vCPU ${thread.vcpu}`}`,
    machineOf,
    endNs: lastNs,
    notes: intervals.notes(),
  };
}
