/** Two recordings, kind of exit by kind of exit. */
import type { ExitRow, Report } from "./report.js";

/** One kind of exit in both; null where it did not occur. */
export interface DiffRow {
  readonly reason: string;
  readonly detail: string;
  /** In a comparison that tells vCPUs apart. */
  readonly vcpu?: number;
  readonly before: ExitRow | null;
  readonly after: ExitRow | null;
  /** Exits a second, after less before. */
  readonly rateChange: number;
  /** Nanoseconds a second that it kept the guest away, after less before; null when a side's times are not known. */
  readonly awayChange: number | null;
}

export interface Diff {
  readonly before: Report;
  readonly after: Report;
  readonly rows: readonly DiffRow[];
}

/**
 * Machines go by their place: the first of one recording is compared with the first of the other, since a guest that was started
 * again has another process. The largest change of time comes first; where there are no times, of the rate.
 */
export function diffReports(before: Report, after: Report): Diff {
  const others = new Map(after.rows.map((row) => [keyOf(after, row), row]));
  const rows = before.rows.map((row) => {
    const key = keyOf(before, row);
    const other = others.get(key) ?? null;
    others.delete(key);
    return diffRow(row, other);
  });
  rows.push(...[...others.values()].map((row) => diffRow(null, row)));
  return { before, after, rows: rows.sort(bySize) };
}

function keyOf({ machines }: Report, { machine, pid, source, reason, detail, vcpu }: ExitRow): string {
  const place = machines.findIndex((each) => each.pid === pid && each.name === machine);
  return JSON.stringify([place, source, reason, detail, vcpu ?? null]);
}

function diffRow(before: ExitRow | null, after: ExitRow | null): DiffRow {
  const { reason, detail, vcpu } = (before ?? after)!;
  const [a, b] = [awayOf(before), awayOf(after)];
  return {
    reason,
    detail,
    ...(vcpu === undefined ? {} : { vcpu }),
    before,
    after,
    rateChange: (after?.rate ?? 0) - (before?.rate ?? 0),
    awayChange: a === null || b === null ? null : b - a,
  };
}

/** Nanoseconds a second; nothing for a kind that did not occur, null for one without times. */
function awayOf(row: ExitRow | null): number | null {
  if (row === null) return 0;
  return row.avgNs === null ? null : row.rate * row.avgNs;
}

function bySize(a: DiffRow, b: DiffRow): number {
  const name = ({ reason, detail, vcpu }: DiffRow): string => `${reason} ${detail} ${vcpu ?? ""}`;
  return (
    Math.abs(b.awayChange ?? 0) - Math.abs(a.awayChange ?? 0) ||
    Math.abs(b.rateChange) - Math.abs(a.rateChange) ||
    name(a).localeCompare(name(b))
  );
}
