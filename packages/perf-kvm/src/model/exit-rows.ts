/** Rows of a source as a report has them: with rates, and shares of the time that the source accounts for. */
import type { SourceRow } from "../sources/source.js";
import { addressText } from "../symbols/address.js";
import { type AddressResolver, functionOf } from "../symbols/resolver.js";
import type { ExitRow, RowSource } from "./report.js";
import type { Stat } from "./stat.js";

/** `seconds` is how long the period lasted. */
export function exitRows(
  rows: readonly SourceRow[],
  machine: { name: string; pid: number },
  seconds: number,
  resolver?: AddressResolver,
): ExitRow[] {
  const spentNs = new Map<RowSource, number>();
  for (const row of rows) spentNs.set(row.source, (spentNs.get(row.source) ?? 0) + (row.spentNs ?? 0));
  return rows.map((row) => exitRow(row, machine, seconds, spentNs.get(row.source)!, resolver));
}

function exitRow(
  row: SourceRow,
  { name, pid }: { name: string; pid: number },
  seconds: number,
  allNs: number,
  resolver: AddressResolver | undefined,
): ExitRow {
  const { away, handler } = row;
  return {
    machine: name,
    pid,
    source: row.source,
    reason: row.reason,
    detail: row.detail,
    ...(row.vcpu === undefined ? {} : { vcpu: row.vcpu }),
    ...(row.rip === undefined ? {} : instruction(row.rip, resolver)),
    count: row.count,
    rate: row.count / seconds,
    share: row.spentNs === undefined || allNs === 0 ? null : row.spentNs / allNs,
    avgNs: away?.avgNs ?? null,
    minNs: away?.minNs ?? null,
    maxNs: away?.maxNs ?? null,
    p50Ns: percentile(away, 50),
    p99Ns: percentile(away, 99),
    device: row.device ?? null,
    handlerAvgNs: handler?.avgNs ?? null,
    handlerMinNs: handler?.minNs ?? null,
    handlerMaxNs: handler?.maxNs ?? null,
    handlerP50Ns: percentile(handler, 50),
    handlerP99Ns: percentile(handler, 99),
    octaves: (away ?? handler)?.octaves() ?? null,
  };
}

/** @param rip signed; NaN for many */
function instruction(rip: number, resolver: AddressResolver | undefined): Pick<ExitRow, "rip" | "symbol" | "why"> {
  if (Number.isNaN(rip)) return { rip: "other", symbol: null };
  const text = addressText(rip);
  if (resolver === undefined) return { rip: text, symbol: null };
  const found = resolver.resolve(rip);
  if ("why" in found) return { rip: text, symbol: null, why: found.why };
  const offset = found.offset === 0 ? "" : `+0x${found.offset.toString(16)}`;
  return { rip: text, symbol: `${functionOf(found)}${offset}` };
}

/** A bucket ends beyond the largest time in it, and begins before the smallest. */
function percentile(stat: Stat | undefined, p: number): number | null {
  return stat === undefined ? null : Math.max(stat.minNs, Math.min(stat.percentileNs(p), stat.maxNs));
}
