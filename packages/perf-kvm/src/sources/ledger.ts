/** The exit ledger of a machine (kvm-binding's format): the VMM's own account, by device, to the nanosecond. */
import { type ExitLedger, LedgerDirection, type LedgerSlotSnapshot } from "@tools-kvm/kvm-binding";
import { userspaceExitName } from "../exits/names.js";
import { Stat } from "../model/stat.js";
import type { ExitSource, SourceRow } from "./source.js";

/** A slot's counters, all vCPUs together. */
interface Totals {
  readonly slot: LedgerSlotSnapshot;
  count: number;
  kernelNs: number;
  handlerNs: number;
  readonly handlerHistogram: Float64Array;
}

export class LedgerSource implements ExitSource {
  readonly name = "ledger";
  readonly #ledger: ExitLedger;
  readonly #vcpus: readonly number[] | undefined;
  #before: Map<number, Totals>;

  /**
   * Counts from now on, or from its beginning when the machine has been made after `sinceNs` (CLOCK_MONOTONIC).
   * @param vcpus only these vCPUs; all when left out
   */
  constructor(ledger: ExitLedger, { sinceNs, vcpus }: { sinceNs?: number; vcpus?: readonly number[] } = {}) {
    this.#ledger = ledger;
    this.#vcpus = vcpus;
    const isNew = sinceNs !== undefined && ledger.snapshot().createdNs >= sinceNs;
    this.#before = isNew ? new Map() : totals(ledger, vcpus);
  }

  collect(): SourceRow[] {
    const now = totals(this.#ledger, this.#vcpus);
    const rows = [...now].flatMap(([slot, after]): SourceRow[] => {
      const before = this.#before.get(slot);
      const count = after.count - (before?.count ?? 0);
      return count > 0 ? [rowOf(after, before, count)] : [];
    });
    this.#before = now;
    return rows;
  }

  takeLost(): number {
    return 0;
  }

  close(): void {
    this.#ledger.close();
  }
}

function totals(ledger: ExitLedger, wanted: readonly number[] | undefined): Map<number, Totals> {
  const bySlot = new Map<number, Totals>();
  for (const { id, slots } of ledger.snapshot().vcpus) {
    if (wanted !== undefined && !wanted.includes(id)) continue;
    for (const slot of slots) {
      const sum = bySlot.get(slot.slot);
      if (sum === undefined) {
        const { count, kernelNs, handlerNs, handlerHistogram } = slot;
        bySlot.set(slot.slot, { slot, count, kernelNs, handlerNs, handlerHistogram });
        continue;
      }
      sum.count += slot.count;
      sum.kernelNs += slot.kernelNs;
      sum.handlerNs += slot.handlerNs;
      slot.handlerHistogram.forEach((count, bucket) => {
        sum.handlerHistogram[bucket]! += count;
      });
    }
  }
  return bySlot;
}

function rowOf(after: Totals, before: Totals | undefined, count: number): SourceRow {
  const { slot } = after;
  const handler = new Stat();
  handler.count = count;
  handler.sumNs = after.handlerNs - (before?.handlerNs ?? 0);
  after.handlerHistogram.forEach((total, bucket) => {
    handler.histogram[bucket] = total - (before?.handlerHistogram[bucket] ?? 0);
  });
  handler.extremesFromHistogram();
  const direction =
    slot.direction === LedgerDirection.in ? " in" : slot.direction === LedgerDirection.out ? " out" : "";
  return {
    source: "ledger",
    reason: userspaceExitName(slot.reason),
    detail: slot.device === "" ? "" : `0x${slot.detail.toString(16)}${direction}`,
    count,
    handler,
    spentNs: after.kernelNs - (before?.kernelNs ?? 0) + handler.sumNs,
    device: slot.device === "" ? undefined : slot.device,
  };
}
