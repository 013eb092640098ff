/** Adds up what the sources of one machine gave, period by period. */
import type { SourceRow } from "../sources/source.js";
import { OTHER_RIPS } from "./rip-tally.js";
import { Stat } from "./stat.js";

/** A row has up to two histograms of 16 KB: beyond this many, a new one is added up without its detail. */
const MAXIMUM_DETAILED_ROWS = 2048;

export class Accumulator {
  readonly #rows = new Map<string, SourceRow>();

  add(rows: readonly SourceRow[]): void {
    for (const row of rows) {
      const key = keyOf(row);
      const sum = this.#rows.get(key);
      if (sum !== undefined) this.#rows.set(key, merged(sum, row));
      else if (this.#rows.size >= MAXIMUM_DETAILED_ROWS && isDetailed(row)) this.add([coarse(row)]);
      else this.#rows.set(key, merged(row, undefined));
    }
  }

  get rows(): SourceRow[] {
    return [...this.#rows.values()];
  }
}

function keyOf({ source, reason, detail, device, vcpu, rip }: SourceRow): string {
  return `${source} ${reason} ${detail} ${device ?? ""} ${vcpu ?? ""} ${rip ?? ""}`;
}

function isDetailed({ detail, rip }: SourceRow): boolean {
  return detail !== "" || (rip !== undefined && !Number.isNaN(rip));
}

function coarse(row: SourceRow): SourceRow {
  return { ...row, detail: "", ...(row.rip === undefined ? {} : { rip: OTHER_RIPS }) };
}

function merged(a: SourceRow, b: SourceRow | undefined): SourceRow {
  return {
    ...a,
    count: a.count + (b?.count ?? 0),
    spentNs: sumOf(a.spentNs, b?.spentNs),
    away: statOf(a.away, b?.away),
    handler: statOf(a.handler, b?.handler),
  };
}

function sumOf(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined && b === undefined ? undefined : (a ?? 0) + (b ?? 0);
}

function statOf(a: Stat | undefined, b: Stat | undefined): Stat | undefined {
  if (a === undefined && b === undefined) return undefined;
  const sum = new Stat();
  if (a !== undefined) sum.merge(a);
  if (b !== undefined) sum.merge(b);
  return sum;
}
