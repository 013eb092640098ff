/** The exit ledger of a machine (kvm-binding's format): the VMM's own account, by device, to the nanosecond. */
import { type ExitLedger, LedgerDirection, type LedgerSlotSnapshot } from "@tools-kvm/kvm-binding";
import { type EventKind, isOfKind } from "../exits/event-kinds.js";
import { userspaceExitName } from "../exits/names.js";
import { Stat } from "../model/stat.js";
import type { ExitSource, SourceRow } from "./source.js";

/** Counters of a slot, all vCPUs together, or of a vCPU's reason, all its slots together. */
interface Totals {
  /** The slot; of a vCPU's reason any of its slots. */
  readonly slot: LedgerSlotSnapshot;
  count: number;
  handlerNs: number;
  readonly handlerHistogram: Float64Array;
}

interface Snapshot {
  readonly bySlot: ReadonlyMap<number, Totals>;
  /** By vCPU and reason. */
  readonly byVcpu: ReadonlyMap<number, Totals>;
}

/** A reason is a u32: of two vCPUs the same reason has different keys. */
const VCPU_UNIT = 2 ** 32;

/** Which counters are looked at; all when left out. */
interface Wanted {
  readonly vcpus?: readonly number[];
  readonly event?: EventKind;
}

const NOTHING: Snapshot = { bySlot: new Map(), byVcpu: new Map() };

export class LedgerSource implements ExitSource {
  readonly name = "ledger";
  readonly rips: readonly SourceRow[] = [];
  readonly #ledger: ExitLedger;
  readonly #wanted: Wanted;
  #before: Snapshot;
  #vcpus: readonly SourceRow[] = [];

  /**
   * Counts from now on, or from its beginning when the machine has been made after `sinceNs` (CLOCK_MONOTONIC).
   */
  constructor(ledger: ExitLedger, { sinceNs, ...wanted }: Wanted & { readonly sinceNs?: number } = {}) {
    this.#ledger = ledger;
    this.#wanted = wanted;
    const isNew = sinceNs !== undefined && ledger.snapshot().createdNs >= sinceNs;
    this.#before = isNew ? NOTHING : look(ledger, wanted);
  }

  collect(): SourceRow[] {
    const before = this.#before;
    const now = look(this.#ledger, this.#wanted);
    this.#before = now;
    this.#vcpus = changed(now.byVcpu, before.byVcpu, (key, times, { slot }) => ({
      ...times,
      reason: userspaceExitName(slot.reason),
      detail: "",
      vcpu: Math.floor(key / VCPU_UNIT),
    }));
    return changed(now.bySlot, before.bySlot, (_, times, { slot }) => ({ ...times, ...namesOf(slot) }));
  }

  get vcpus(): readonly SourceRow[] {
    return this.#vcpus;
  }

  takeLost(): number {
    return 0;
  }

  close(): void {
    this.#ledger.close();
  }
}

function look(ledger: ExitLedger, { vcpus, event = "exit" }: Wanted): Snapshot {
  const bySlot = new Map<number, Totals>();
  const byVcpu = new Map<number, Totals>();
  for (const { id, slots } of ledger.snapshot().vcpus) {
    if (vcpus !== undefined && !vcpus.includes(id)) continue;
    for (const slot of slots) {
      if (!isOfKind(event, userspaceExitName(slot.reason))) continue;
      add(bySlot, slot.slot, slot);
      add(byVcpu, id * VCPU_UNIT + slot.reason, slot);
    }
  }
  return { bySlot, byVcpu };
}

function add(sums: Map<number, Totals>, key: number, slot: LedgerSlotSnapshot): void {
  const sum = sums.get(key);
  if (sum === undefined) {
    const { count, handlerNs } = slot;
    sums.set(key, { slot, count, handlerNs, handlerHistogram: slot.handlerHistogram.slice() });
    return;
  }
  sum.count += slot.count;
  sum.handlerNs += slot.handlerNs;
  slot.handlerHistogram.forEach((count, bucket) => {
    sum.handlerHistogram[bucket]! += count;
  });
}

type Times = Pick<SourceRow, "source" | "count" | "handler" | "spentNs">;

/** A row for each whose count has grown, with what came in between. */
function changed(
  now: ReadonlyMap<number, Totals>,
  before: ReadonlyMap<number, Totals>,
  rowOf: (key: number, times: Times, totals: Totals) => SourceRow,
): SourceRow[] {
  return [...now].flatMap(([key, after]): SourceRow[] => {
    const past = before.get(key);
    const count = after.count - (past?.count ?? 0);
    if (count <= 0) return [];
    const handler = new Stat();
    handler.count = count;
    handler.sumNs = after.handlerNs - (past?.handlerNs ?? 0);
    after.handlerHistogram.forEach((total, bucket) => {
      handler.histogram[bucket] = total - (past?.handlerHistogram[bucket] ?? 0);
    });
    handler.extremesFromHistogram();
    // The time in KVM_RUN before it is the guest's too, and that of its sleep: it is not this exit's.
    return [rowOf(key, { source: "ledger", count, handler, spentNs: handler.sumNs }, after)];
  });
}

function namesOf({
  reason,
  direction,
  detail,
  device,
}: LedgerSlotSnapshot): Pick<SourceRow, "reason" | "detail" | "device"> {
  const way = direction === LedgerDirection.in ? " in" : direction === LedgerDirection.out ? " out" : "";
  return {
    reason: userspaceExitName(reason),
    detail: device === "" ? "" : `0x${detail.toString(16)}${way}`,
    device: device === "" ? undefined : device,
  };
}
