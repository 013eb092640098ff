/** Figures as a table for people and as JSON for programs. */
import type { Unit } from "./bench.js";
import type { Figure, Sample } from "./runner.js";

/** One object a line; a ratio or a peer that there is not is null. */
export function jsonLine({ bench, case: name, unit, ours, peer, ratio, runs }: Figure): string {
  return JSON.stringify({
    bench,
    case: name,
    unit,
    ours: significant(ours.median),
    peer: peer === null ? null : significant(peer.median),
    ratio: ratio === null ? null : significant(ratio),
    runs,
  });
}

const HEADINGS = ["CASE", "UNIT", "OURS", "min-max", "PEER", "min-max", "RATIO", "RUNS"] as const;
const LEFT_ALIGNED = 2;

export function table(figures: readonly Figure[]): string {
  const rows: readonly (readonly string[])[] = [HEADINGS, ...figures.map(row)];
  const widths = HEADINGS.map((_, column) => Math.max(...rows.map((cells) => cells[column]!.length)));
  return rows
    .map((cells) =>
      cells
        .map((cell, column) => (column < LEFT_ALIGNED ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** What the table cannot say: who the peers are, and which of them are not here. */
export function notes(figures: readonly Figure[]): string[] {
  const peers = new Set(figures.filter(({ peer }) => peer !== null).map(({ peerName }) => peerName!));
  const missing = new Set(figures.flatMap(({ missing }) => (missing === undefined ? [] : [missing])));
  return [...(peers.size > 0 ? [`peer: ${[...peers].join("; ")}`] : []), ...missing];
}

function row({ case: name, unit, ours, peer, ratio, runs }: Figure): string[] {
  return [
    name,
    unit,
    amount(unit, ours.median),
    spread(unit, ours),
    peer === null ? "-" : amount(unit, peer.median),
    peer === null ? "-" : spread(unit, peer),
    ratio === null ? "-" : ratio.toFixed(2),
    String(runs),
  ];
}

function spread(unit: Unit, { min, max }: Sample): string {
  return `${amount(unit, min)}-${amount(unit, max)}`;
}

function amount(unit: Unit, value: number): string {
  return value.toFixed(unit.endsWith("/s") ? 0 : 1);
}

/** Four digits are more than any of these can be trusted with. */
function significant(value: number): number {
  return Number(value.toPrecision(4));
}
