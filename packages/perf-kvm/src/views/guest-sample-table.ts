/** Where guests spend their time, by function, for a terminal or a file. */
import type { GuestSampleRow, GuestSamples } from "../model/guest-samples.js";
import { formatShare } from "./format.js";
import { alignedLines, type TextColumn } from "./text-table.js";

const COLUMNS: readonly TextColumn<GuestSampleRow>[] = [
  { title: "SAMPLES", align: "right", cell: ({ count }) => String(count) },
  { title: "SHARE", align: "right", cell: ({ share }) => formatShare(share) },
  { title: "GUEST", align: "left", cell: ({ mode }) => mode },
  { title: "FUNCTION", align: "left", cell: ({ symbol, why }) => symbol ?? `[${why}]` },
];
const PROCESS: TextColumn<GuestSampleRow> = { title: "PID", align: "right", cell: ({ pid }) => String(pid) };

export function guestSampleTable({ events, samples, guestSamples, rows }: GuestSamples): string {
  const of = `${guestSamples} of ${samples} samples (${events.join(", ")}) are a guest's`;
  const hint =
    guestSamples === 0 && samples > 0 ? ": this host's KVM may not tell them apart, or the guest hardly ran" : "";
  const several = new Set(rows.map(({ pid }) => pid)).size > 1;
  const lines = rows.length === 0 ? [] : alignedLines(rows, several ? [PROCESS, ...COLUMNS] : COLUMNS);
  return `\n${[of + hint, ...lines].join("\n")}\n`;
}
