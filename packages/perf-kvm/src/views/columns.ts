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

/** What the rows of a table are: kinds of exits, or all exits of a reason, a vCPU, a machine or to a device. */
export const LEVELS = ["detail", "reason", "vcpu", "vm", "device", "rip"] as const;
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
const RIP = text("GUEST RIP", 29, ({ rip, symbol }) => symbol ?? rip ?? "");
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

/** What a wider screen shows too. Like the bars, they are the times away, or else the handler's. */
const MIN = time("MIN", ({ minNs, handlerMinNs }) => minNs ?? handlerMinNs);
const P50 = time("P50", ({ p50Ns, handlerP50Ns }) => p50Ns ?? handlerP50Ns);
const MAX = time("MAX", ({ maxNs, handlerMaxNs }) => maxNs ?? handlerMaxNs);
const HANDLER_P99 = time("H.P99", ({ handlerP99Ns }) => handlerP99Ns);
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
  device: [DEVICE, MACHINE],
  rip: [RIP, REASON, DETAIL],
};

/** The times of one screen of 80 columns, and those of the other (`times`). */
const TIMES: Readonly<Record<Level, readonly ExitColumn[]>> = {
  detail: [AVG, P99, DEVICE, HANDLER],
  reason: [AVG, P99, DEVICE, HANDLER],
  vcpu: [AVG, P99, DEVICE, HANDLER],
  vm: [AVG, P99, DEVICE, HANDLER],
  device: [HANDLER, HANDLER_P99],
  rip: [AVG],
};
const OTHER_TIMES: readonly ExitColumn[] = [MIN, P50, MAX, HISTOGRAM];
const ALL_OF_RIP: readonly ExitColumn[] = [RIP, REASON, DETAIL, RATE, TIME, AVG, ...OTHER_TIMES];
/** From the left to the right, on a screen that has room for all. */
const ORDER: readonly ExitColumn[] = [MIN, AVG, P50, P99, MAX, HISTOGRAM, DEVICE, HANDLER, HANDLER_P99];

const widthOf = (columns: readonly ExitColumn[]): number => columns.reduce((sum, { width }) => sum + width + 1, -1);

export interface ColumnChoice {
  /** Counts since the beginning, in place of rates. */
  readonly total?: boolean;
  /** Kinds of exits are told apart by machine, where there is room. */
  readonly severalMachines?: boolean;
  /** The same exit may be seen by two sources: rows say by which, where there is room. */
  readonly severalSources?: boolean;
  /** On a screen without room for all: the extremes and bars, in place of means and devices. */
  readonly times?: boolean;
}

/** The columns of a table on a screen of this width. */
export function columnsFor(level: Level, screenWidth: number, choice: ColumnChoice = {}): readonly ExitColumn[] {
  const { total = false, severalMachines = false, severalSources = false, times = false } = choice;
  const names = level === "rip" && times && screenWidth < widthOf(ALL_OF_RIP) ? [RIP] : NAMES[level];
  const build = (shown: ReadonlySet<ExitColumn>): ExitColumn[] => [
    ...(shown.has(MACHINE) && !names.includes(MACHINE) ? [MACHINE] : []),
    ...names,
    ...(shown.has(SOURCE) && !names.includes(SOURCE) ? [SOURCE] : []),
    total ? COUNT : RATE,
    TIME,
    ...ORDER.filter((column) => shown.has(column)),
  ];
  const [first, others] = times ? [OTHER_TIMES, TIMES[level]] : [TIMES[level], [HISTOGRAM, MAX, P50, MIN]];
  const shown = new Set<ExitColumn>(first);
  const more = [...(severalMachines ? [MACHINE] : []), ...(severalSources && level === "detail" ? [SOURCE] : [])];
  for (const column of [...more, ...others]) {
    if (widthOf(build(new Set([...shown, column]))) <= screenWidth) shown.add(column);
  }
  return build(shown);
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

/** True when a row has `text` in its reason, detail, device, machine, guest function or source, in either case. */
export function matches(row: ExitRow, text: string): boolean {
  const { reason, detail, device, machine, rip, symbol, source } = row;
  const words = `${reason} ${detail} ${device ?? ""} ${machine} ${rip ?? ""} ${symbol ?? ""} ${source}`.toLowerCase();
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
