/** The profiler as a library: watch machines, get reports. */
export { Observer, type ObserverOptions, type SourceName } from "./model/observer.js";
export type { ExitRow, MachineInfo, Report, RowSource, StatsRow } from "./model/report.js";
