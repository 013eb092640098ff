/** Adds up what the sources of one machine gave, period by period. */
import type { SourceRow } from "../sources/source.js";
import { Stat } from "./stat.js";

export class Accumulator {
  readonly #rows = new Map<string, SourceRow>();

  add(rows: readonly SourceRow[]): void {
    for (const row of rows) {
      const key = `${row.source} ${row.reason} ${row.detail} ${row.device ?? ""}`;
      const sum = this.#rows.get(key);
      this.#rows.set(key, sum === undefined ? merged(row, undefined) : merged(sum, row));
    }
  }

  get rows(): SourceRow[] {
    return [...this.#rows.values()];
  }
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
