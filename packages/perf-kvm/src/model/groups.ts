/** Rows of a machine put together: by reason, by vCPU, by device, or all that a source has seen. */
import type { SourceRow } from "../sources/source.js";
import { Stat } from "./stat.js";

export type GroupBy = "reason" | "vcpu" | "device" | "vm";

const KEYS: Readonly<Record<GroupBy, (row: SourceRow) => string>> = {
  reason: ({ reason }) => reason,
  vcpu: ({ vcpu }) => String(vcpu),
  device: ({ device }) => device ?? "",
  vm: () => "",
};

/** Adds up rows of the same source that have the same `by`; a group keeps a device only where all its rows have the same. */
export function grouped(rows: readonly SourceRow[], by: GroupBy): SourceRow[] {
  const groups = new Map<string, SourceRow[]>();
  for (const row of rows) {
    const key = `${row.source} ${KEYS[by](row)}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [row]);
    else group.push(row);
  }
  return [...groups.values()].map((group) => ({ ...sumOf(group), reason: by === "reason" ? group[0]!.reason : "" }));
}

/** One row for all of these, which are of one source. Its reason is empty. */
export function sumOf(rows: readonly SourceRow[]): SourceRow {
  const first = rows[0]!;
  if (rows.length === 1) return { ...first, reason: "", detail: "" };
  const spent = rows.flatMap(({ spentNs }) => spentNs ?? []);
  return {
    source: first.source,
    reason: "",
    detail: "",
    vcpu: first.vcpu,
    count: rows.reduce((sum, { count }) => sum + count, 0),
    away: merged(rows.flatMap(({ away }) => away ?? [])),
    handler: merged(rows.flatMap(({ handler }) => handler ?? [])),
    spentNs: spent.length === 0 ? undefined : spent.reduce((a, b) => a + b),
    device: rows.every(({ device }) => device === first.device) ? first.device : undefined,
  };
}

function merged(stats: readonly Stat[]): Stat | undefined {
  if (stats.length === 0) return undefined;
  const sum = new Stat();
  for (const stat of stats) sum.merge(stat);
  return sum;
}
