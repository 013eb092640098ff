/**
 * Exits of one vCPU thread, counted by kind. An exit lasts until the thread's next entry, as `perf kvm stat` has it; a
 * kind is its number and detail, so that nothing is looked up by name while events stream in.
 */
import { EVENT, type EventColumns } from "../columns/events.js";
import { hardwareExitDetail, hardwareExitName, hasDetail } from "../exits/names.js";
import type { SourceRow } from "../sources/source.js";
import { HardwareKind } from "./hardware-kind.js";
import { KindBudget } from "./kind-budget.js";
import type { RipBudget } from "./rip-tally.js";
import { Stat } from "./stat.js";
import { UserspaceTally } from "./userspace-tally.js";

/**
 * A guest that goes through all its ports would make a kind, and a histogram of 16 KB, of each. Beyond this many, a new
 * one is counted by its reason alone; beyond twice as many (a file may claim any reasons), as OTHER.
 */
const MAXIMUM_DETAILED_KINDS = 256;
const OTHER = -1;
/** Kinds that are looked at before the map. A power of two. */
const RECENT = 64;
/** A kind's number: 16 bits of the reason, 2 of the instruction set, 33 of the exit information (0 is none). */
const REASON_UNIT = 2 ** 35;
const ISA_UNIT = 2 ** 33;

/** Where a vCPU's time went, as tracepoints tell it, in nanoseconds. */
export interface TracedTimes {
  /** From kvm_entry to kvm_exit. */
  guestNs: number;
  /** A halted vCPU was waited for by polling (kvm_vcpu_wakeup without sleep), or slept. */
  polledNs: number;
  sleptNs: number;
}

export interface ExitTallyOptions {
  readonly fromEntry?: boolean;
  readonly details?: RipBudget;
  readonly countsEmulation?: boolean;
}

export class ExitTally {
  readonly #hardware = new Map<number, HardwareKind>();
  readonly #recentKeys = new Float64Array(RECENT).fill(Number.NaN);
  readonly #recentKinds = new Array<HardwareKind | undefined>(RECENT);
  readonly #userspace: UserspaceTally;
  readonly #budget: KindBudget;
  #pending: HardwareKind | undefined;
  #exitNs = 0;
  #rip = 0;
  /** How long the pending exit has been waited for, as the vCPU was halted. */
  #waitedNs = 0;
  /** When the guest was entered that has not been left yet; NaN when it has, or nothing is known. */
  #entryNs = Number.NaN;
  #times: TracedTimes = { guestNs: 0, polledNs: 0, sleptNs: 0 };
  /** Exits that lasted less are not counted, in nanoseconds. */
  overNs = 0;
  /** The event (one of EVENT) without which an exit is not counted: it tells its address. */
  detailEvent: number | undefined;
  readonly #hasDetails: boolean;
  readonly #ripBudget: RipBudget | undefined;
  readonly #countsEmulation: boolean;

  #hasEntered: boolean;

  /**
   * Tallies with the same budget are limited together. With `fromEntry`, exits before the first entry are not counted:
   * a recording may have begun in the middle of one. With `details`, exits are told apart by what other events say of
   * them, and by the guest's instruction while the budget has room. With `countsEmulation`, what KVM emulates is counted of
   * its own: there is no kvm_exit that it would be part of.
   */
  constructor(
    budget = new KindBudget(),
    { fromEntry = false, details, countsEmulation = false }: ExitTallyOptions = {},
  ) {
    this.#hasEntered = !fromEntry;
    this.#budget = budget;
    this.#hasDetails = details !== undefined;
    this.#ripBudget = details;
    this.#countsEmulation = countsEmulation;
    this.#userspace = new UserspaceTally(budget);
  }

  consume(columns: EventColumns): void {
    const { kind, timeNs, reason, variant, detail, rip, length } = columns;
    for (let i = 0; i < length; i++) {
      const event = kind[i]!;
      switch (event) {
        case EVENT.EXIT:
          if (!this.#hasEntered) break;
          this.#pending = this.#kindOf(variant[i]!, reason[i]!, detail[i]!);
          this.#exitNs = timeNs[i]!;
          this.#waitedNs = 0;
          if (this.#exitNs > this.#entryNs) this.#times.guestNs += this.#exitNs - this.#entryNs;
          this.#entryNs = Number.NaN;
          if (rip !== undefined) this.#rip = rip[i]!;
          break;
        case EVENT.ENTRY:
          this.#entered(timeNs[i]!);
          break;
        case EVENT.USERSPACE_EXIT:
          this.#userspace.exit(reason[i]!);
          break;
        case EVENT.WAKEUP:
          if (variant[i] === 0) this.#times.polledNs += detail[i]!;
          else this.#times.sleptNs += detail[i]!;
          this.#waitedNs += detail[i]!;
          this.#tell(event, variant[i]!, 0);
          break;
        case EVENT.PIO:
          this.#userspace.access(event, variant[i]!, detail[i]!);
          break;
        case EVENT.MMIO:
          this.#userspace.access(event, variant[i]!, detail[i]!);
          this.#tell(event, variant[i]!, detail[i]!);
          break;
        case EVENT.EMULATE:
          if (rip !== undefined) this.#userspace.emulates(rip[i]!);
          break;
        case EVENT.MSR:
        case EVENT.CPUID:
          if (this.#countsEmulation) this.#userspace.emulated(event, variant[i]!, detail[i]!);
          this.#tell(event, variant[i]!, detail[i]!);
          break;
        case EVENT.PAGE_FAULT:
          this.#tell(event, variant[i]!, detail[i]!);
      }
    }
  }

  #entered(timeNs: number): void {
    this.#hasEntered = true;
    this.#entryNs = timeNs;
    const kind = this.#pending;
    this.#pending = undefined;
    if (kind === undefined || (this.detailEvent !== undefined && kind.event !== this.detailEvent)) return;
    const ns = Math.max(0, timeNs - this.#exitNs);
    if (ns < this.overNs) return;
    kind.stat.add(ns);
    if (this.#hasDetails) kind.waitedNs += Math.min(this.#waitedNs, ns);
    kind.rips?.add(this.#rip, ns);
  }

  /** An event says more about the pending exit. */
  #tell(event: number, variant: number, value: number): void {
    if (this.#hasDetails) this.#pending = this.#pending?.detailed(event, variant, value);
  }

  /** Where this vCPU's time went since the last call; a guest that runs just now has done so until `nowNs`. */
  takeTimes(nowNs: number): TracedTimes {
    const times = this.#times;
    if (nowNs > this.#entryNs) {
      times.guestNs += nowNs - this.#entryNs;
      this.#entryNs = nowNs;
    }
    this.#times = { guestNs: 0, polledNs: 0, sleptNs: 0 };
    return times;
  }

  /** The kinds of this thread by reason, since the last `rows`. */
  byReason(vcpu: number): SourceRow[] {
    const sums = new Map<string, { away: Stat; spentNs: number }>();
    for (const { reason, stat, waitedNs } of this.#kinds()) {
      if (stat.count === 0) continue;
      const sum = sums.get(reason) ?? { away: new Stat(), spentNs: 0 };
      sum.away.merge(stat);
      sum.spentNs += stat.sumNs - waitedNs;
      sums.set(reason, sum);
    }
    return [
      ...[...sums].map(([reason, { away, spentNs }]) => {
        return { source: "kvm_exit" as const, reason, detail: "", vcpu, count: away.count, away, spentNs };
      }),
      ...this.#userspace.byReason().map((row) => ({ ...row, vcpu })),
    ];
  }

  /** The kinds of several threads together, since the last call. Counting starts again. */
  static rows(tallies: readonly ExitTally[]): SourceRow[] {
    const hardware = new Map<string, HardwareRow>();
    for (const tally of tallies) {
      for (const kind of tally.#kinds()) mergeHardware(hardware, kind);
    }
    return [
      ...[...hardware.values()].map((row) => ({ ...row, source: "kvm_exit" as const, count: row.away.count })),
      ...addedUp(tallies.flatMap((tally) => tally.#userspace.take())),
    ];
  }

  /** By kind and the guest's instruction, of several threads together, since the last call. Counting starts again. */
  static rips(tallies: readonly ExitTally[]): SourceRow[] {
    const rows = new Map<string, HardwareRow & { rip: number }>();
    for (const tally of tallies) {
      for (const { reason, detail, rips, workShare } of tally.#kinds()) {
        for (const [rip, away] of rips?.take() ?? []) {
          const key = `${reason} ${detail} ${rip}`;
          const spentNs = workShare * away.sumNs;
          const known = rows.get(key);
          if (known === undefined) rows.set(key, { reason, detail, rip, away, spentNs });
          else {
            known.away.merge(away);
            known.spentNs += spentNs;
          }
        }
      }
    }
    return [
      ...[...rows.values()].map((row) => ({ ...row, source: "kvm_exit" as const, count: row.away.count })),
      ...addedUp(tallies.flatMap((tally) => tally.#userspace.rips())),
    ];
  }

  #kinds(): HardwareKind[] {
    return [...this.#hardware.values()].flatMap((kind) => kind.all());
  }

  /** Only what the name and the detail depend on makes a kind: addresses would make one an exit. */
  #kindOf(isa: number, reason: number, info1: number): HardwareKind {
    const byReason = (reason & 0xffff) * REASON_UNIT + isa * ISA_UNIT;
    const key = hasDetail(isa, reason) ? byReason + 1 + (info1 >>> 0) : byReason;
    const recent = (Math.imul(reason, 31) ^ Math.imul(info1 >>> 16, 7) ^ info1) & (RECENT - 1);
    if (this.#recentKeys[recent] === key) return this.#recentKinds[recent]!;
    const kind = this.#hardware.get(key) ?? this.#newKind(isa, reason, info1, key, byReason);
    this.#recentKeys[recent] = key;
    this.#recentKinds[recent] = kind;
    return kind;
  }

  #newKind(isa: number, reason: number, info1: number, key: number, byReason: number): HardwareKind {
    const { size } = this.#hardware;
    if (size < MAXIMUM_DETAILED_KINDS && this.#budget.takeHardware()) {
      return this.#add(key, hardwareExitName(isa, reason), hardwareExitDetail(isa, reason, info1));
    }
    const known = this.#hardware.get(byReason);
    if (known !== undefined) return known;
    if (size < 2 * MAXIMUM_DETAILED_KINDS && this.#budget.takeHardware())
      return this.#add(byReason, hardwareExitName(isa, reason), "");
    return this.#hardware.get(OTHER) ?? this.#add(OTHER, "OTHER", "");
  }

  #add(key: number, reason: string, detail: string): HardwareKind {
    const kind = new HardwareKind(reason, detail, this.#ripBudget);
    this.#hardware.set(key, kind);
    return kind;
  }
}

/** A row of kvm_exit while it is added up. */
interface HardwareRow {
  readonly reason: string;
  readonly detail: string;
  readonly away: Stat;
  spentNs: number;
}

function mergeHardware(rows: Map<string, HardwareRow>, kind: HardwareKind): void {
  const { reason, detail, stat, waitedNs } = kind;
  if (stat.count === 0) return;
  const key = `${reason} ${detail}`;
  let row = rows.get(key);
  if (row === undefined) {
    row = { reason, detail, away: new Stat(), spentNs: 0 };
    rows.set(key, row);
  }
  row.away.merge(stat);
  row.spentNs += stat.sumNs - waitedNs;
  kind.clear();
}

/** Rows of the same kind as one; they have counts alone. */
function addedUp(rows: readonly SourceRow[]): SourceRow[] {
  const sums = new Map<string, SourceRow>();
  for (const row of rows) {
    const key = `${row.source} ${row.reason} ${row.detail} ${row.rip ?? ""}`;
    sums.set(key, { ...row, count: row.count + (sums.get(key)?.count ?? 0) });
  }
  return [...sums.values()];
}
