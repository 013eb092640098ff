/**
 * Exits of one vCPU thread, counted by kind. An exit lasts until the thread's next entry, as `perf kvm stat` has it; a
 * kind is its number and detail, so that nothing is looked up by name while events stream in.
 */
import { EVENT, type EventColumns } from "../columns/events.js";
import { hardwareExitDetail, hardwareExitName, hasDetail } from "../exits/names.js";
import type { SourceRow } from "../sources/source.js";
import { KindBudget } from "./kind-budget.js";
import { Stat } from "./stat.js";
import { UserspaceTally } from "./userspace-tally.js";

/** An exit by the hardware's reason. */
interface HardwareKind {
  readonly reason: string;
  readonly detail: string;
  readonly stat: Stat;
}

/**
 * A guest that goes through all its ports would make a kind, and a histogram of 16 KB, of each. Beyond this many, a new
 * one is counted by its reason alone; beyond twice as many (a file may claim any reasons), as OTHER.
 */
const MAXIMUM_DETAILED_KINDS = 256;
const OTHER = -1;
/** A kind's number: 16 bits of the reason, 2 of the instruction set, 33 of the exit information (0 is none). */
const REASON_UNIT = 2 ** 35;
const ISA_UNIT = 2 ** 33;
/** kvm_mmio.type (include/trace/events/kvm.h). */
const MMIO_WRITE = 2;

export class ExitTally {
  readonly #hardware = new Map<number, HardwareKind>();
  readonly #userspace: UserspaceTally;
  readonly #budget: KindBudget;
  #pending: HardwareKind | undefined;
  #exitNs = 0;
  /** Exits that lasted less are not counted, in nanoseconds. */
  overNs = 0;
  /** The event (one of EVENT) that tells the address of an exit: exits without one are not counted. */
  detailEvent: number | undefined;
  /** Kinds by what that event told. */
  readonly #addressed = new Map<string, HardwareKind>();

  #hasEntered: boolean;

  /**
   * Tallies with the same budget are limited together. With `fromEntry`, exits before the first entry are not counted:
   * a recording may have begun in the middle of one.
   */
  constructor(budget = new KindBudget(), { fromEntry = false } = {}) {
    this.#hasEntered = !fromEntry;
    this.#budget = budget;
    this.#userspace = new UserspaceTally(budget);
  }

  consume(columns: EventColumns): void {
    const { kind, timeNs, reason, variant, detail, length } = columns;
    for (let i = 0; i < length; i++) {
      switch (kind[i]) {
        case EVENT.EXIT:
          if (!this.#hasEntered) break;
          this.#pending = this.#kindOf(variant[i]!, reason[i]!, detail[i]!);
          this.#exitNs = timeNs[i]!;
          break;
        case EVENT.ENTRY:
          this.#entered(timeNs[i]!);
          break;
        case EVENT.USERSPACE_EXIT:
          this.#userspace.exit(reason[i]!);
          break;
        case this.detailEvent:
          this.#address(variant[i]!, detail[i]!);
          break;
        case EVENT.PIO:
        case EVENT.MMIO:
          this.#userspace.access(kind[i]!, variant[i]!, detail[i]!);
      }
    }
  }

  #entered(timeNs: number): void {
    this.#hasEntered = true;
    const kind = this.#pending;
    this.#pending = undefined;
    if (kind === undefined || (this.detailEvent !== undefined && kind.detail === "")) return;
    const ns = Math.max(0, timeNs - this.#exitNs);
    if (ns >= this.overNs) kind.stat.add(ns);
  }

  /** The pending exit was an access to this address or register. */
  #address(variant: number, address: number): void {
    if (this.#pending === undefined) return;
    const { reason } = this.#pending;
    const isWrite = this.detailEvent === EVENT.MMIO ? variant === MMIO_WRITE : variant === 1;
    const detail = `0x${address.toString(16)} ${isWrite ? "out" : "in"}`;
    const key = `${reason} ${detail}`;
    let kind = this.#addressed.get(key);
    if (kind === undefined) {
      const isFull = this.#addressed.size >= MAXIMUM_DETAILED_KINDS;
      const other = `${reason} other`;
      kind = isFull ? this.#addressed.get(other) : undefined;
      if (kind === undefined) {
        kind = { reason, detail: isFull ? "other" : detail, stat: new Stat() };
        this.#addressed.set(isFull ? other : key, kind);
      }
    }
    this.#pending = kind;
  }

  /** The kinds of this thread by reason, since the last `rows`. */
  byReason(vcpu: number): SourceRow[] {
    const sums = new Map<string, Stat>();
    for (const { reason, stat } of [...this.#hardware.values(), ...this.#addressed.values()]) {
      if (stat.count === 0) continue;
      const sum = sums.get(reason) ?? new Stat();
      sum.merge(stat);
      sums.set(reason, sum);
    }
    return [
      ...[...sums].map(([reason, away]) => {
        const { count, sumNs } = away;
        return { source: "kvm_exit" as const, reason, detail: "", vcpu, count, away, spentNs: sumNs };
      }),
      ...[...this.#userspace.byReason()].map(([reason, count]) => {
        return { source: "userspace" as const, reason, detail: "", vcpu, count };
      }),
    ];
  }

  /** The kinds of several threads together, since the last call. Counting starts again. */
  static rows(tallies: readonly ExitTally[]): SourceRow[] {
    const hardware = new Map<string, SourceRow & { away: Stat }>();
    const userspace = new Map<string, SourceRow>();
    for (const tally of tallies) {
      for (const kind of tally.#hardware.values()) mergeHardware(hardware, kind);
      for (const kind of tally.#addressed.values()) mergeHardware(hardware, kind);
      for (const row of tally.#userspace.take()) {
        const key = `${row.reason} ${row.detail}`;
        userspace.set(key, { ...row, count: row.count + (userspace.get(key)?.count ?? 0) });
      }
    }
    return [
      ...[...hardware.values()].map((row) => ({ ...row, count: row.away.count, spentNs: row.away.sumNs })),
      ...userspace.values(),
    ];
  }

  /** Only what the name and the detail depend on makes a kind: addresses would make one an exit. */
  #kindOf(isa: number, reason: number, info1: number): HardwareKind {
    const byReason = (reason & 0xffff) * REASON_UNIT + isa * ISA_UNIT;
    const key = hasDetail(isa, reason) ? byReason + 1 + (info1 >>> 0) : byReason;
    return this.#hardware.get(key) ?? this.#newKind(isa, reason, info1, key, byReason);
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
    const kind = { reason, detail, stat: new Stat() };
    this.#hardware.set(key, kind);
    return kind;
  }
}

function mergeHardware(rows: Map<string, SourceRow & { away: Stat }>, { reason, detail, stat }: HardwareKind): void {
  if (stat.count === 0) return;
  const key = `${reason} ${detail}`;
  let row = rows.get(key);
  if (row === undefined) {
    row = { source: "kvm_exit", reason, detail, count: 0, away: new Stat() };
    rows.set(key, row);
  }
  row.away.merge(stat);
  stat.clear();
}
