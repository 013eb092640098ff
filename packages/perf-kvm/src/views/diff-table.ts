/** Two recordings side by side, for a terminal or a file. */
import type { Diff, DiffRow } from "../model/diff.js";
import type { ExitRow, Report } from "../model/report.js";
import { csvLines } from "./csv.js";
import { formatCount, formatNs, formatShare } from "./format.js";
import { alignedLines, type TextColumn } from "./text-table.js";

const of = (row: ExitRow | null, text: (row: ExitRow) => string): string => (row === null ? "-" : text(row));
const sides = (title: string, text: (row: ExitRow) => string): TextColumn<DiffRow>[] => [
  { title, align: "right", cell: ({ before }) => of(before, text) },
  { title: "->", align: "right", cell: ({ after }) => of(after, text) },
];

const VCPU: TextColumn<DiffRow> = { title: "VCPU", align: "right", cell: ({ vcpu }) => String(vcpu ?? "-") };
const COLUMNS: readonly TextColumn<DiffRow>[] = [
  { title: "REASON", align: "left", cell: ({ reason }) => reason },
  { title: "DETAIL", align: "left", cell: ({ detail }) => detail || "-" },
  ...sides("COUNT", ({ count }) => String(count)),
  ...sides("RATE/s", ({ rate }) => formatCount(rate)),
  { title: "CHANGE", align: "right", cell: ({ rateChange }) => signed(rateChange, formatCount) },
  ...sides("TIME", ({ share }) => formatShare(share)),
  ...sides("AVG", ({ avgNs }) => formatNs(avgNs)),
  ...sides("P99", ({ p99Ns }) => formatNs(p99Ns)),
  {
    title: "AWAY/s",
    align: "right",
    cell: ({ awayChange }) => (awayChange === null ? "-" : signed(awayChange, formatNs)),
  },
];

export function diffTable({ before, after, rows }: Diff): string {
  const lines = [summary("before", before), summary("after", after)];
  if (rows.length > 0)
    lines.push(...alignedLines(rows, rows.some(({ vcpu }) => vcpu !== undefined) ? [VCPU, ...COLUMNS] : COLUMNS));
  return `${lines.join("\n")}\n`;
}

function summary(which: string, { machines, seconds, lost, notes }: Report): string {
  const names = machines.map(({ name, vcpus }) => `${name} (${vcpus} vCPU)`).join(", ");
  const missing = lost > 0 ? `; ${lost} records LOST, the counts are too low` : "";
  return [`${which}: ${names === "" ? "no machine" : names}; ${seconds.toFixed(3)} s${missing}`, ...notes].join("; ");
}

function signed(value: number, format: (value: number) => string): string {
  return value === 0 ? "0" : `${value < 0 ? "-" : "+"}${format(Math.abs(value))}`;
}

const FIGURES = ["count", "rate", "share", "avgNs", "p99Ns"] as const;

export function csvDiff({ rows }: Diff): string {
  const header = ["vcpu", "reason", "detail", ...FIGURES.flatMap((name) => [`${name}Before`, `${name}After`])];
  return csvLines([
    [...header, "rateChange", "awayNsPerSecondChange"],
    ...rows.map(({ vcpu, reason, detail, before, after, rateChange, awayChange }) => [
      vcpu,
      reason,
      detail,
      ...FIGURES.flatMap((name) => [before?.[name], after?.[name]]),
      rateChange,
      awayChange,
    ]),
  ]);
}

export function jsonDiff({ before, after, rows }: Diff): string {
  const side = ({ seconds, machines, lost, notes }: Report) => ({ seconds, machines, lost, notes });
  return `${JSON.stringify({ before: side(before), after: side(after), rows })}\n`;
}
