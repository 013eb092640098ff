/** Where in the guest exits come from: times by the address of the instruction, as kvm_exit has it (guest_rip). */
import { Stat } from "./stat.js";

/** An address has a histogram of 16 KB: a kind of exit has at most so many, and all kinds of a machine together. */
const MAXIMUM_OF_KIND = 256;
const MAXIMUM_OF_MACHINE = 2048;

/** What addresses beyond the bounds are counted by. */
export const OTHER_RIPS = Number.NaN;

/** How many addresses tallies that share it may still take. */
export class RipBudget {
  #left = MAXIMUM_OF_MACHINE;

  take(): boolean {
    if (this.#left <= 0) return false;
    this.#left--;
    return true;
  }

  give(count: number): void {
    this.#left += count;
  }
}

export class RipTally {
  readonly #budget: RipBudget;
  #stats = new Map<number, Stat>();

  constructor(budget: RipBudget) {
    this.#budget = budget;
  }

  /** Counts an exit of `ns` at `rip`, a signed number: an address of the guest's upper half is negative. */
  add(rip: number, ns: number): void {
    (this.#stats.get(rip) ?? this.#newStat(rip)).add(ns);
  }

  /** What has been counted since the last call, by address; counting starts again. */
  take(): ReadonlyMap<number, Stat> {
    const stats = this.#stats;
    if (stats.size === 0) return stats;
    this.#stats = new Map();
    this.#budget.give(stats.has(OTHER_RIPS) ? stats.size - 1 : stats.size);
    return stats;
  }

  #newStat(rip: number): Stat {
    const isOther = this.#stats.size >= MAXIMUM_OF_KIND || !this.#budget.take();
    const key = isOther ? OTHER_RIPS : rip;
    const known = this.#stats.get(key);
    if (known !== undefined) return known;
    const stat = new Stat();
    this.#stats.set(key, stat);
    return stat;
  }
}
