/** A report as one line of JSON. The names are those of `model/report.ts` and stay as they are. */
import type { Report } from "../model/report.js";

export function jsonReport(report: Report, kind: "interval" | "total"): string {
  return `${JSON.stringify({ kind, ...report })}\n`;
}
