/** Rows of a source as a report has them: with rates, and shares of the time that the source accounts for. */
import type { SourceRow } from "../sources/source.js";
import type { ExitRow, RowSource } from "./report.js";

/** `seconds` is how long the period lasted. */
export function exitRows(
  rows: readonly SourceRow[],
  machine: { name: string; pid: number },
  seconds: number,
): ExitRow[] {
  const spentNs = new Map<RowSource, number>();
  for (const row of rows) spentNs.set(row.source, (spentNs.get(row.source) ?? 0) + (row.spentNs ?? 0));
  return rows.map((row) => exitRow(row, machine, seconds, spentNs.get(row.source)!));
}

function exitRow(
  row: SourceRow,
  { name, pid }: { name: string; pid: number },
  seconds: number,
  allNs: number,
): ExitRow {
  const { away, handler } = row;
  return {
    machine: name,
    pid,
    source: row.source,
    reason: row.reason,
    detail: row.detail,
    count: row.count,
    rate: row.count / seconds,
    share: row.spentNs === undefined || allNs === 0 ? null : row.spentNs / allNs,
    avgNs: away?.avgNs ?? null,
    minNs: away?.minNs ?? null,
    maxNs: away?.maxNs ?? null,
    // A bucket ends beyond the largest time in it.
    p99Ns: away === undefined ? null : Math.min(away.percentileNs(99), away.maxNs),
    device: row.device ?? null,
    handlerAvgNs: handler?.avgNs ?? null,
    handlerP99Ns: handler?.percentileNs(99) ?? null,
  };
}
