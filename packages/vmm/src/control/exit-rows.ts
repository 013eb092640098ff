/** The exit ledger as a table: one row a kind of exit, all vCPUs together, the most frequent first. */
import { type LedgerSlotSnapshot, type LedgerSnapshot, percentileNs } from "@tools-kvm/kvm-binding";
import { exitReasonName } from "../machine/exit-name.js";
import type { ExitRow } from "./actions.js";

const DIRECTIONS = [undefined, "read", "write"] as const;

export function exitRows(snapshot: LedgerSnapshot): ExitRow[] {
  const bySlot = new Map<number, LedgerSlotSnapshot[]>();
  for (const { slots } of snapshot.vcpus) {
    for (const slot of slots) {
      const same = bySlot.get(slot.slot);
      if (same === undefined) bySlot.set(slot.slot, [slot]);
      else same.push(slot);
    }
  }
  return [...bySlot.values()].map(rowOf).sort((a, b) => b.count - a.count);
}

function rowOf(slots: readonly LedgerSlotSnapshot[]): ExitRow {
  const { reason, device, direction, detail } = slots[0]!;
  const count = sum(slots, (slot) => slot.count);
  const named = device !== "";
  return {
    reason: exitReasonName(reason),
    device: named ? device : undefined,
    direction: DIRECTIONS[direction],
    address: named ? Number(detail) : undefined,
    count,
    kernelAvgNs: sum(slots, (slot) => slot.kernelNs) / count,
    kernelP99Ns: percentileNs(merged(slots.map((slot) => slot.kernelHistogram)), 99),
    handlerAvgNs: sum(slots, (slot) => slot.handlerNs) / count,
    handlerP99Ns: percentileNs(merged(slots.map((slot) => slot.handlerHistogram)), 99),
  };
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}

function merged(histograms: readonly Float64Array[]): Float64Array {
  return histograms.reduce((total, histogram) => total.map((count, bucket) => count + histogram[bucket]!));
}
