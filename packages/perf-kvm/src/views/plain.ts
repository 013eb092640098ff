/** A report as plain text: what `perf-kvm top` prints when standard output is no terminal. */
import type { Report } from "../model/report.js";
import { DEFAULT_SORT, headerLine, rowLine, sortRows } from "./columns.js";
import { formatCount } from "./format.js";
import { timeLine } from "./time-line.js";

export function plainReport(report: Report): string {
  const lines = [summaryLine(report)];
  for (const note of report.notes) lines.push(`note: ${note}`);
  for (const split of report.times ?? []) lines.push(`${split.machine}: ${timeLine([split])}`);
  for (const { machine, counters } of report.stats) {
    const text = statsText(counters, report.seconds);
    if (text !== "") lines.push(`${machine}: ${text}`);
  }
  if (report.rows.length > 0)
    lines.push(headerLine(), ...sortRows(report.rows, DEFAULT_SORT).map((row) => rowLine(row)));
  return `${lines.map((line) => line.trimEnd()).join("\n")}\n`;
}

/**
 * One line: which machines, over how long, and whether anything was lost.
 * @param mostNames of more machines it says how many there are
 */
export function summaryLine({ machines, seconds, lost }: Report, mostNames = Number.POSITIVE_INFINITY): string {
  const names =
    machines.length > mostNames
      ? `${machines.length} VMs, ${machines.reduce((sum, { vcpus }) => sum + vcpus, 0)} vCPUs`
      : machines.map(({ name, pid, vcpus }) => `${name} (pid ${pid}, ${vcpus} vCPU)`).join(", ");
  const missing = lost > 0 ? `; ${formatCount(lost)} records LOST, the counts are too low` : "";
  return `${machines.length === 0 ? "no VM is running" : names}; ${seconds.toFixed(1)} s${missing}`;
}

/** The counters of KVM that say most about exits; rates a second. */
const SHOWN_COUNTERS = [
  "exits",
  "io_exits",
  "mmio_exits",
  "halt_exits",
  "irq_exits",
  "request_irq_exits",
  "signal_exits",
];

export function statsText(counters: Readonly<Record<string, number>>, seconds: number): string {
  return SHOWN_COUNTERS.flatMap((name) => {
    const increase = counters[name];
    return increase === undefined ? [] : [`${name} ${formatCount(increase / seconds)}/s`];
  }).join(", ");
}
