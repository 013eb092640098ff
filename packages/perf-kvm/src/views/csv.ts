/** The exits of a recording as comma-separated values (RFC 4180); what is not known is an empty field. */
import type { ExitRow, Report } from "../model/report.js";
import { sorted } from "./exit-table.js";

const COLUMNS = [
  "machine",
  "pid",
  "vcpu",
  "source",
  "reason",
  "detail",
  "count",
  "share",
  "avgNs",
  "minNs",
  "maxNs",
  "p99Ns",
] as const satisfies readonly (keyof ExitRow)[];

export function csvReport({ rows }: Report): string {
  return csvLines([COLUMNS, ...sorted(rows).map((row) => COLUMNS.map((name) => row[name]))]);
}

type Value = string | number | null | undefined;

export function csvLines(lines: readonly (readonly Value[])[]): string {
  return `${lines.map((line) => line.map(field).join(",")).join("\r\n")}\r\n`;
}

function field(value: Value): string {
  if (value === null || value === undefined) return "";
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
