/** The columns of the exit table: the same on the screen and in plain text; a wide screen has more of them. */
import type { ExitRow } from "../model/report.js";
import { formatCount, formatNs, formatShare } from "./format.js";
import { HISTOGRAM_TITLE, HISTOGRAM_WIDTH, histogramText } from "./histogram.js";

export interface ExitColumn {
  readonly title: string;
  /** Characters; together with the gaps those of `EXIT_COLUMNS` make 80. */
  readonly width: number;
  readonly align: "left" | "right";
  readonly cell: (row: ExitRow) => string;
  /** What the table is sorted by when this column is chosen; larger first, texts in order. */
  readonly value: (row: ExitRow) => number | string;
}

/** What the rows of a table are: kinds of exits, or all exits of a reason, a vCPU or a machine. */
export const LEVELS = ["detail", "reason", "vcpu", "vm"] as const;
export type Level = (typeof LEVELS)[number];

const text = (title: string, width: number, of: (row: ExitRow) => string): ExitColumn => ({
  title,
  width,
  align: "left",
  cell: (row) => of(row) || "-",
  value: of,
});

const time = (title: string, of: (row: ExitRow) => number | null): ExitColumn => ({
  title,
  width: 7,
  align: "right",
  cell: (row) => formatNs(of(row)),
  value: (row) => of(row) ?? 0,
});

const REASON = text("REASON", 13, ({ reason }) => reason);
const DETAIL = text("DETAIL", 14, ({ detail }) => detail);
const MACHINE = text("MACHINE", 13, ({ machine }) => machine);
const SOURCE = text("SEEN BY", 14, ({ source }) => source);
const VCPU: ExitColumn = {
  ...text("VCPU", 14, ({ vcpu }) => String(vcpu ?? "")),
  value: ({ vcpu }) => -(vcpu ?? 0),
};
const RATE: ExitColumn = {
  title: "RATE/s",
  width: 6,
  align: "right",
  cell: ({ rate }) => formatCount(rate),
  value: ({ rate }) => rate,
};
const COUNT: ExitColumn = {
  ...RATE,
  title: "COUNT",
  cell: ({ count }) => formatCount(count),
  value: ({ count }) => count,
};
const TIME: ExitColumn = {
  title: "TIME",
  width: 6,
  align: "right",
  cell: ({ share }) => formatShare(share),
  value: ({ share }) => share ?? 0,
};
const AVG = time("AVG", ({ avgNs }) => avgNs);
const P99 = time("P99", ({ p99Ns }) => p99Ns);
const DEVICE = text("DEVICE", 13, ({ device }) => device ?? "");
const HANDLER = time("HANDLER", ({ handlerAvgNs }) => handlerAvgNs);

export const EXIT_COLUMNS: readonly ExitColumn[] = [REASON, DETAIL, RATE, TIME, AVG, P99, DEVICE, HANDLER];

/** What a wider screen shows too, in the order of its usefulness. */
const MIN = time("MIN", ({ minNs }) => minNs);
const P50 = time("P50", ({ p50Ns }) => p50Ns);
const MAX = time("MAX", ({ maxNs }) => maxNs);
const HISTOGRAM: ExitColumn = {
  title: HISTOGRAM_TITLE,
  width: HISTOGRAM_WIDTH,
  align: "left",
  cell: ({ octaves }) => histogramText(octaves),
  value: ({ octaves }) => (octaves ?? []).length,
};

const NAMES: Readonly<Record<Level, readonly ExitColumn[]>> = {
  detail: [REASON, DETAIL],
  reason: [REASON, SOURCE],
  vcpu: [MACHINE, VCPU],
  vm: [MACHINE, SOURCE],
};

const widthOf = (columns: readonly ExitColumn[]): number => columns.reduce((sum, { width }) => sum + width + 1, -1);

/**
 * The columns of a table on a screen of this width.
 * @param total counts since the beginning, in place of rates
 * @param severalMachines kinds of exits are told apart by machine, where there is room
 */
export function columnsFor(
  level: Level,
  screenWidth: number,
  total = false,
  severalMachines = false,
): readonly ExitColumn[] {
  const count = total ? COUNT : RATE;
  const build = (extras: ReadonlySet<ExitColumn>): ExitColumn[] => [
    ...(extras.has(MACHINE) ? [MACHINE] : []),
    ...NAMES[level],
    count,
    TIME,
    ...[MIN, AVG, P50, P99, MAX].filter((column) => column === AVG || column === P99 || extras.has(column)),
    ...(extras.has(HISTOGRAM) ? [HISTOGRAM] : []),
    DEVICE,
    HANDLER,
  ];
  const wanted = [
    ...(severalMachines && (level === "detail" || level === "reason") ? [MACHINE] : []),
    HISTOGRAM,
    MAX,
    P50,
    MIN,
  ];
  const extras = new Set<ExitColumn>();
  for (const column of wanted) {
    if (widthOf(build(new Set([...extras, column]))) <= screenWidth) extras.add(column);
  }
  return build(extras);
}

export const DEFAULT_SORT = 2;

/** Rows in the order of a column; ties by source, reason and detail, so that the screen does not jump. */
export function sortRows(rows: readonly ExitRow[], column: number | ExitColumn): ExitRow[] {
  const { value } = typeof column === "number" ? EXIT_COLUMNS[column]! : column;
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

export function headerLine(columns: readonly ExitColumn[] = EXIT_COLUMNS): string {
  return columns.map(({ title, width, align }) => fit(title, width, align)).join(" ");
}

export function rowLine(row: ExitRow, columns: readonly ExitColumn[] = EXIT_COLUMNS): string {
  return columns.map(({ cell, width, align }) => fit(cell(row), width, align)).join(" ");
}
