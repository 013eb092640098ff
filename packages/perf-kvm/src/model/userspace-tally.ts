/** Exits to user space of one vCPU thread, counted by reason and by the access that led there. */
import { userspaceExitName } from "../exits/names.js";
import type { SourceRow } from "../sources/source.js";
import { KindBudget } from "./kind-budget.js";
import { UserspaceAccess } from "./userspace-access.js";

interface Kind {
  readonly reason: number;
  readonly detail: string;
  count: number;
}

/** Details differ from exit to exit only where a guest makes it so: beyond this many kinds, the rest has no detail. */
const MAXIMUM_KINDS = 10_000;
/** What a reason becomes when a file claims more of them than there can be. */
const OTHER = -1;

export class UserspaceTally {
  readonly #kinds = new Map<string, Kind>();
  readonly #budget: KindBudget;
  readonly #access = new UserspaceAccess();

  constructor(budget = new KindBudget()) {
    this.#budget = budget;
  }

  /** A kvm_pio or kvm_mmio event. */
  access(event: number, variant: number, address: number): void {
    const done = this.#access.access(event, variant, address);
    if (done !== undefined) this.#count(done.reason, done.detail);
  }

  /** A kvm_userspace_exit event. */
  exit(reason: number): void {
    for (const done of this.#access.exit(reason, 0)) this.#count(done.reason, done.detail);
  }

  /** How many have been counted since the last `take`. */
  get count(): number {
    let sum = 0;
    for (const { count } of this.#kinds.values()) sum += count;
    return sum;
  }

  /** What has been counted since the last call, by kind; counting starts again. A port read that is out comes later. */
  take(): SourceRow[] {
    const rows = [...this.#kinds.values()].map(
      ({ reason, detail, count }): SourceRow => ({
        source: "userspace",
        reason: reason === OTHER ? "OTHER" : userspaceExitName(reason),
        detail,
        count,
      }),
    );
    this.#budget.giveUserspace(this.#kinds.size);
    this.#kinds.clear();
    return rows;
  }

  #count(reason: number, detail: string): void {
    const key = `${reason} ${detail}`;
    const kind = this.#kinds.get(key);
    if (kind !== undefined) kind.count++;
    else if (this.#kinds.size < (detail === "" ? 2 : 1) * MAXIMUM_KINDS && this.#budget.takeUserspace()) {
      this.#kinds.set(key, { reason, detail, count: 1 });
    } else if (detail !== "") this.#count(reason, "");
    else if (reason !== OTHER) this.#count(OTHER, "");
    else this.#kinds.set(key, { reason, detail, count: 1 });
  }
}
