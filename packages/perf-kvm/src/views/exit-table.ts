/** The exits of a recording as a table: absolute counts and times, for a terminal, a pager or a file. */
import type { ExitRow, Report } from "../model/report.js";
import { formatNs, formatShare } from "./format.js";
import { alignedLines, type TextColumn } from "./text-table.js";

type Column = TextColumn<ExitRow>;

const MACHINE: Column = { title: "MACHINE", align: "left", cell: ({ machine, pid }) => `${machine} (${pid})` };
const VCPU: Column = {
  title: "VCPU",
  align: "right",
  cell: ({ vcpu }) => (vcpu === undefined || vcpu < 0 ? "-" : String(vcpu)),
};
const COLUMNS: readonly Column[] = [
  { title: "REASON", align: "left", cell: ({ reason }) => reason },
  { title: "DETAIL", align: "left", cell: ({ detail }) => detail || "-" },
  { title: "COUNT", align: "right", cell: ({ count }) => String(count) },
  { title: "TIME", align: "right", cell: ({ share }) => formatShare(share) },
  { title: "MIN", align: "right", cell: ({ minNs }) => formatNs(minNs) },
  { title: "AVG", align: "right", cell: ({ avgNs }) => formatNs(avgNs) },
  { title: "P99", align: "right", cell: ({ p99Ns }) => formatNs(p99Ns) },
  { title: "MAX", align: "right", cell: ({ maxNs }) => formatNs(maxNs) },
];

export function exitTable(report: Report): string {
  const { machines, seconds, lost, notes } = report;
  const names = machines.map(({ name, pid, vcpus }) => `${name} (pid ${pid}, ${vcpus} vCPU)`).join(", ");
  const lines = [`${names === "" ? "no machine" : names}; ${seconds.toFixed(3)} s`];
  if (lost > 0) lines.push(`note: ${lost} records LOST, the counts are too low`);
  for (const note of notes) lines.push(`note: ${note}`);
  const rows = sorted(report.rows);
  if (rows.length > 0) lines.push(...alignedLines(rows, columnsFor(report)));
  return `${lines.join("\n")}\n`;
}

/** The most time first; where there are no times, the most exits. */
export function sorted(rows: readonly ExitRow[]): ExitRow[] {
  const name = ({ machine, reason, detail }: ExitRow): string => `${machine} ${reason} ${detail}`;
  return [...rows].sort(
    (a, b) =>
      (a.vcpu ?? 0) - (b.vcpu ?? 0) ||
      (b.share ?? 0) - (a.share ?? 0) ||
      b.count - a.count ||
      name(a).localeCompare(name(b)),
  );
}

function columnsFor({ machines, rows }: Report): Column[] {
  const more = machines.length > 1 ? [MACHINE] : [];
  return [...more, ...(rows.some(({ vcpu }) => vcpu !== undefined) ? [VCPU] : []), ...COLUMNS];
}
