/** What `perf-kvm stat` prints: counts and times of a whole run, as a table or as comma-separated values (RFC 4180). */
import type { ExitRow, Report } from "../model/report.js";
import { formatNs, formatShare } from "./format.js";
import { statsText, summaryLine } from "./plain.js";
import { type Column, formatTable } from "./table.js";

/** The times that a row has: away from the guest where they are known, else those of the VMM's handler. */
export interface RowTimes {
  readonly of: "away" | "handler" | null;
  readonly minNs: number | null;
  readonly avgNs: number | null;
  readonly p50Ns: number | null;
  readonly p99Ns: number | null;
  readonly maxNs: number | null;
}

export function timesOf(row: ExitRow): RowTimes {
  if (row.avgNs !== null || row.handlerAvgNs === null) {
    const { minNs, avgNs, p50Ns, p99Ns, maxNs } = row;
    return { of: avgNs === null ? null : "away", minNs, avgNs, p50Ns, p99Ns, maxNs };
  }
  return {
    of: "handler",
    minNs: row.handlerMinNs,
    avgNs: row.handlerAvgNs,
    p50Ns: row.handlerP50Ns,
    p99Ns: row.handlerP99Ns,
    maxNs: row.handlerMaxNs,
  };
}

const MACHINE: Column<ExitRow> = { title: "MACHINE", cell: ({ machine, pid }) => `${machine} (${pid})` };

const COLUMNS: readonly Column<ExitRow>[] = [
  { title: "REASON", cell: ({ reason }) => reason },
  { title: "DETAIL", cell: ({ detail }) => detail || "-" },
  { title: "COUNT", align: "right", cell: ({ count }) => String(count) },
  { title: "TIME", align: "right", cell: ({ share }) => formatShare(share) },
  { title: "MIN", align: "right", cell: (row) => formatNs(timesOf(row).minNs) },
  { title: "AVG", align: "right", cell: (row) => formatNs(timesOf(row).avgNs) },
  { title: "P50", align: "right", cell: (row) => formatNs(timesOf(row).p50Ns) },
  { title: "P99", align: "right", cell: (row) => formatNs(timesOf(row).p99Ns) },
  { title: "MAX", align: "right", cell: (row) => formatNs(timesOf(row).maxNs) },
  { title: "OF", cell: (row) => timesOf(row).of ?? "-" },
  { title: "DEVICE", cell: ({ device }) => device ?? "-" },
];

export function statTable(report: Report): string {
  const lines = [summaryLine(report), ...report.notes.map((note) => `note: ${note}`)];
  for (const { machine, counters } of report.stats) {
    const text = statsText(counters, report.seconds);
    if (text !== "") lines.push(`${machine}: ${text}`);
  }
  const rows = byTime(report.rows);
  const columns = report.machines.length > 1 ? [MACHINE, ...COLUMNS] : COLUMNS;
  return `${lines.join("\n")}\n${rows.length === 0 ? "" : formatTable(columns, rows)}`;
}

/** The most time first; where there are no times, the most exits. */
function byTime(rows: readonly ExitRow[]): ExitRow[] {
  const name = ({ machine, source, reason, detail }: ExitRow): string => `${machine} ${source} ${reason} ${detail}`;
  return [...rows].sort(
    (a, b) => (b.share ?? 0) - (a.share ?? 0) || b.count - a.count || name(a).localeCompare(name(b)),
  );
}

const CSV_COLUMNS = [
  ...["seconds", "machine", "pid", "source", "reason", "detail", "device", "count", "share"],
  ...["timeOf", "minNs", "avgNs", "p50Ns", "p99Ns", "maxNs"],
] as const;

export const csvHeader = `${CSV_COLUMNS.join(",")}\r\n`;

/** @param atSeconds since the beginning, at the end of the report's period */
export function csvRows({ rows }: Report, atSeconds: number): string {
  const lines = byTime(rows).map((row) => {
    const { machine, pid, source, reason, detail, device, count, share } = row;
    const { of, minNs, avgNs, p50Ns, p99Ns, maxNs } = timesOf(row);
    const times = [minNs, avgNs, p50Ns, p99Ns, maxNs];
    return [atSeconds.toFixed(3), machine, pid, source, reason, detail, device, count, share, of, ...times];
  });
  return lines.map((line) => `${line.map(csvField).join(",")}\r\n`).join("");
}

/** What is not known is an empty field. */
function csvField(value: string | number | null): string {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
