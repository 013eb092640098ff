/** The columns of the exit table: the same on the screen and in plain text. */
import type { ExitRow } from "../model/report.js";
import { formatCount, formatNs, formatShare } from "./format.js";

export interface ExitColumn {
  readonly title: string;
  /** Characters; together with the gaps they make 80. */
  readonly width: number;
  readonly align: "left" | "right";
  readonly cell: (row: ExitRow) => string;
  /** What the table is sorted by when this column is chosen; larger first, texts in order. */
  readonly value: (row: ExitRow) => number | string;
}

export const EXIT_COLUMNS: readonly ExitColumn[] = [
  { title: "REASON", width: 13, align: "left", cell: ({ reason }) => reason, value: ({ reason }) => reason },
  { title: "DETAIL", width: 14, align: "left", cell: ({ detail }) => detail || "-", value: ({ detail }) => detail },
  { title: "RATE/s", width: 6, align: "right", cell: ({ rate }) => formatCount(rate), value: ({ rate }) => rate },
  {
    title: "TIME",
    width: 6,
    align: "right",
    cell: ({ share }) => formatShare(share),
    value: ({ share }) => share ?? 0,
  },
  { title: "AVG", width: 7, align: "right", cell: ({ avgNs }) => formatNs(avgNs), value: ({ avgNs }) => avgNs ?? 0 },
  { title: "P99", width: 7, align: "right", cell: ({ p99Ns }) => formatNs(p99Ns), value: ({ p99Ns }) => p99Ns ?? 0 },
  {
    title: "DEVICE",
    width: 13,
    align: "left",
    cell: ({ device }) => device ?? "-",
    value: ({ device }) => device ?? "",
  },
  {
    title: "HANDLER",
    width: 7,
    align: "right",
    cell: ({ handlerAvgNs }) => formatNs(handlerAvgNs),
    value: ({ handlerAvgNs }) => handlerAvgNs ?? 0,
  },
];

export const DEFAULT_SORT = 2;

/** Rows in the order of a column; ties by reason and detail, so that the screen does not jump. */
export function sortRows(rows: readonly ExitRow[], column: number): ExitRow[] {
  const { value } = EXIT_COLUMNS[column]!;
  const tie = (row: ExitRow): string => `${row.source} ${row.reason} ${row.detail}`;
  return [...rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    const order = typeof x === "number" && typeof y === "number" ? y - x : String(x).localeCompare(String(y));
    return order !== 0 ? order : tie(a).localeCompare(tie(b));
  });
}

/** True when a row has `text` in its reason, detail, device or machine, in either case. */
export function matches(row: ExitRow, text: string): boolean {
  const words = `${row.reason} ${row.detail} ${row.device ?? ""} ${row.machine}`.toLowerCase();
  return words.includes(text.toLowerCase());
}

function fit(text: string, width: number, align: "left" | "right"): string {
  const cut = text.length > width ? `${text.slice(0, width - 1)}~` : text;
  return align === "right" ? cut.padStart(width) : cut.padEnd(width);
}

export function headerLine(): string {
  return EXIT_COLUMNS.map(({ title, width, align }) => fit(title, width, align)).join(" ");
}

export function rowLine(row: ExitRow): string {
  return EXIT_COLUMNS.map(({ cell, width, align }) => fit(cell(row), width, align)).join(" ");
}
