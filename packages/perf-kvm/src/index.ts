/** The profiler as a library: watch machines, read recordings, get reports. */
export { Observer, type ObserverOptions, type SourceName } from "./model/observer.js";
export { GROUPINGS, type Grouping, RecordingTally } from "./model/recording.js";
export type { ExitGroups, ExitRow, MachineInfo, Report, RowSource, StatsRow } from "./model/report.js";
export { EXIT_REASONS, type ExitReason, findReasons, type Kind as ExitReasonKind } from "./reasons/catalogue.js";
export { PerfDataError } from "./sources/perf-data/error.js";
export { PerfDataReader, type ReaderOptions, type RecordBatch } from "./sources/perf-data/reader.js";
export {
  type Mapping,
  PerfDataWriter,
  type RecordingInfo,
  type TracingInfo,
  type WrittenEvent,
} from "./sources/perf-data/writer.js";
export { ScriptPrinter } from "./views/script.js";
