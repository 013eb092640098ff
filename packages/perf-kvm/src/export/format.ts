/** What every format of `perf-kvm export` is. */
import type { PerfDataReader } from "../sources/perf-data/reader.js";
import type { Write } from "./output.js";
import type { SymbolsOf } from "./sample-tracks.js";

/** What a stack or a total is worth: nanoseconds away from the guest, or one an exit. */
export const VALUES = ["time", "count"] as const;
export type Value = (typeof VALUES)[number];

export interface ExportOptions {
  readonly value: Value;
  /** What names a guest's instructions. */
  readonly symbolsOf: SymbolsOf;
}

export interface ExportFormat {
  /** What it is for, in a few words. */
  readonly summary: string;
  /** Not for a terminal. */
  readonly isBinary?: boolean;
  /**
   * Reads the recording to its end.
   * @returns what is missing in the export, and why
   * @throws PerfDataError, or ExportError when the format cannot hold it
   */
  write(recording: PerfDataReader, write: Write, options: ExportOptions): readonly string[];
}

/** The recording is sound, but not for this format: one line that says why, and what to do. */
export class ExportError extends Error {
  override readonly name = "ExportError";
}
