/** Adds up what the sources of one machine gave, period by period. */
import type { SourceRow } from "../sources/source.js";
import { OTHER_RIPS } from "./rip-tally.js";
import { Stat } from "./stat.js";

/** A row has up to two histograms of 16 KB: beyond this many, a new one is added up without its detail. */
const MAXIMUM_DETAILED_ROWS = 2048;

/** A row that is added to in place. */
type Sum = SourceRow & { count: number; spentNs?: number; away?: Stat; handler?: Stat };

export class Accumulator {
  readonly #rows = new Map<string, Sum>();

  add(rows: readonly SourceRow[]): void {
    for (const row of rows) {
      const key = keyOf(row);
      const sum = this.#rows.get(key);
      if (sum !== undefined) addTo(sum, row);
      else if (this.#rows.size >= MAXIMUM_DETAILED_ROWS && isDetailed(row)) this.add([coarse(row)]);
      else this.#rows.set(key, { ...row, away: copyOf(row.away), handler: copyOf(row.handler) });
    }
  }

  get rows(): readonly SourceRow[] {
    return [...this.#rows.values()];
  }
}

function addTo(sum: Sum, { count, spentNs, away, handler }: SourceRow): void {
  sum.count += count;
  if (spentNs !== undefined) sum.spentNs = (sum.spentNs ?? 0) + spentNs;
  if (away !== undefined) sum.away = added(sum.away, away);
  if (handler !== undefined) sum.handler = added(sum.handler, handler);
}

function added(sum: Stat | undefined, stat: Stat): Stat {
  if (sum === undefined) return copyOf(stat)!;
  sum.merge(stat);
  return sum;
}

function copyOf(stat: Stat | undefined): Stat | undefined {
  if (stat === undefined) return undefined;
  const copy = new Stat();
  copy.merge(stat);
  return copy;
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
