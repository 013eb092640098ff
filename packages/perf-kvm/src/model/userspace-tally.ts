/**
 * Exits to user space of one vCPU thread, counted by reason and by the access that led there. The kernel traces a write
 * before it leaves for user space and a port read after it has come back (arch/x86/kvm/x86.c, kvm_pio and kvm_mmio);
 * an MSR that user space handles is not traced at all.
 */
import { KVM_EXIT_IO, KVM_EXIT_MMIO } from "@tools-kvm/kvm-binding/uapi";
import { EVENT } from "../columns/events.js";
import { userspaceExitName } from "../exits/names.js";
import type { SourceRow } from "../sources/source.js";
import { KindBudget } from "./kind-budget.js";

interface Kind {
  readonly reason: number;
  readonly detail: string;
  count: number;
}

/** kvm_pio.rw, and kvm_mmio.type. */
const PIO_IN = 0;
const MMIO_READ_TO_COME = 0;
const MMIO_WRITE = 2;
/** Details differ from exit to exit only where a guest makes it so: beyond this many kinds, the rest has no detail. */
const MAXIMUM_KINDS = 10_000;
/** What a reason becomes when a file claims more of them than there can be. */
const OTHER = -1;

export class UserspaceTally {
  readonly #kinds = new Map<string, Kind>();
  readonly #budget: KindBudget;
  /** The traced access that has not led to an exit yet. */
  #access = { event: -1, detail: "" };
  /** A port read has left for user space: its trace is to come. */
  #readIsOut = false;

  constructor(budget = new KindBudget()) {
    this.#budget = budget;
  }

  /** A kvm_pio or kvm_mmio event. */
  access(event: number, variant: number, address: number): void {
    if (event === EVENT.PIO && variant === PIO_IN) {
      if (this.#readIsOut) this.#count(KVM_EXIT_IO, `0x${address.toString(16)} in`);
      this.#readIsOut = false;
    } else if (event === EVENT.PIO || variant === MMIO_WRITE || variant === MMIO_READ_TO_COME) {
      const isWrite = event === EVENT.PIO || variant === MMIO_WRITE;
      this.#access = { event, detail: `0x${address.toString(16)} ${isWrite ? "out" : "in"}` };
    }
  }

  /** A kvm_userspace_exit event. */
  exit(reason: number): void {
    this.#settle();
    const { event, detail } = this.#access;
    this.#access = { event: -1, detail: "" };
    const isNamed =
      (reason === KVM_EXIT_IO && event === EVENT.PIO) || (reason === KVM_EXIT_MMIO && event === EVENT.MMIO);
    if (isNamed) this.#count(reason, detail);
    else if (reason === KVM_EXIT_IO) this.#readIsOut = true;
    else this.#count(reason, "");
  }

  /** How many have been counted since the last `take`, by reason. */
  byReason(): Map<string, number> {
    const sums = new Map<string, number>();
    for (const { reason, count } of this.#kinds.values()) {
      const name = nameOf(reason);
      sums.set(name, count + (sums.get(name) ?? 0));
    }
    return sums;
  }

  /** What has been counted since the last call, by kind; counting starts again. A port read that is out comes later. */
  take(): SourceRow[] {
    const rows = [...this.#kinds.values()].map(
      ({ reason, detail, count }): SourceRow => ({
        source: "userspace",
        reason: nameOf(reason),
        detail,
        count,
      }),
    );
    this.#budget.giveUserspace(this.#kinds.size);
    this.#kinds.clear();
    return rows;
  }

  /** A port read whose trace never came: its record was lost. */
  #settle(): void {
    if (this.#readIsOut) this.#count(KVM_EXIT_IO, "");
    this.#readIsOut = false;
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

function nameOf(reason: number): string {
  return reason === OTHER ? "OTHER" : userspaceExitName(reason);
}
