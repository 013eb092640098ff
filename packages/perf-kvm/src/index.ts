/** The profiler as a library: watch machines, get reports. */
export { Observer, type ObserverOptions, type SourceName } from "./model/observer.js";
export type { ExitGroups, ExitRow, MachineInfo, Report, RowSource, StatsRow } from "./model/report.js";
export { EXIT_REASONS, type ExitReason, findReasons, type Kind as ExitReasonKind } from "./reasons/catalogue.js";
