/**
 * Exits to user space of one vCPU thread, counted by reason and by the access that led there; where kvm_exit does not tell
 * of them, also accesses that KVM emulates itself.
 */
import { KVM_EXIT_IO } from "@tools-kvm/kvm-binding/uapi";
import { EVENT } from "../columns/events.js";
import { userspaceExitName } from "../exits/names.js";
import type { SourceRow } from "../sources/source.js";
import { KindBudget } from "./kind-budget.js";
import { OTHER_RIPS } from "./rip-tally.js";
import { UserspaceAccess } from "./userspace-access.js";

interface Kind {
  readonly source: "userspace" | "emulation";
  readonly reason: string;
  readonly detail: string;
  count: number;
  /** Exits by the guest's instruction; undefined while none is known. */
  rips: Map<number, number> | undefined;
}

/** Details differ from exit to exit only where a guest makes it so: beyond this many kinds, the rest has no detail. */
const MAXIMUM_KINDS = 10_000;
/** What a reason becomes when a file claims more of them than there can be. */
const OTHER = "OTHER";
const MAXIMUM_RIPS = 256;

export class UserspaceTally {
  readonly #kinds = new Map<string, Kind>();
  readonly #budget: KindBudget;
  /** The guest's instruction that KVM emulated last; undefined when nothing tells. */
  #rip: number | undefined;
  readonly #access = new UserspaceAccess();

  constructor(budget = new KindBudget()) {
    this.#budget = budget;
  }

  /** A kvm_pio or kvm_mmio event. */
  access(event: number, variant: number, address: number): void {
    const done = this.#access.access(event, variant, address);
    if (done !== undefined) this.#leave(done.reason, done.detail);
  }

  /** A kvm_emulate_insn event: what comes of it is at this instruction (signed). */
  emulates(rip: number): void {
    this.#rip = rip;
  }

  /** A kvm_msr or kvm_cpuid event: KVM did it without user space. */
  emulated(event: number, variant: number, value: number): void {
    const { MSR } = EVENT;
    const detail =
      event === MSR ? `0x${value.toString(16)} ${variant === 1 ? "out" : "in"}` : `leaf 0x${value.toString(16)}`;
    this.#count("emulation", event === MSR ? "MSR" : "CPUID", detail);
  }

  /** A kvm_userspace_exit event. */
  exit(reason: number): void {
    for (const done of this.#access.exit(reason, 0)) {
      // What was emulated before is not what led to this one.
      if (done.detail === "" && done.reason !== KVM_EXIT_IO) this.#rip = undefined;
      this.#leave(done.reason, done.detail);
    }
  }

  /** What has been counted since the last `take`, by reason. */
  byReason(): SourceRow[] {
    const sums = new Map<string, SourceRow>();
    for (const { source, reason, count } of this.#kinds.values()) {
      const key = `${source} ${reason}`;
      sums.set(key, { source, reason, detail: "", count: count + (sums.get(key)?.count ?? 0) });
    }
    return [...sums.values()];
  }

  /** What has been counted since the last `take`, by kind and the guest's instruction. */
  rips(): SourceRow[] {
    return [...this.#kinds.values()].flatMap(({ source, reason, detail, rips }) =>
      [...(rips ?? [])].map(([rip, count]) => ({ source, reason, detail, rip, count })),
    );
  }

  /** What has been counted since the last call, by kind; counting starts again. A port read that is out comes later. */
  take(): SourceRow[] {
    const rows = [...this.#kinds.values()].map(
      ({ source, reason, detail, count }): SourceRow => ({ source, reason, detail, count }),
    );
    this.#budget.giveUserspace(this.#kinds.size);
    this.#kinds.clear();
    return rows;
  }

  #leave(reason: number, detail: string): void {
    this.#count("userspace", userspaceExitName(reason), detail);
  }

  #count(source: Kind["source"], reason: string, detail: string): void {
    const key = `${source} ${reason} ${detail}`;
    const kind = this.#kinds.get(key);
    if (kind !== undefined) {
      kind.count++;
      this.#countRip(kind);
    } else if (this.#kinds.size < (detail === "" ? 2 : 1) * MAXIMUM_KINDS && this.#budget.takeUserspace()) {
      this.#add(key, source, reason, detail);
    } else if (detail !== "") this.#count(source, reason, "");
    else if (reason !== OTHER) this.#count(source, OTHER, "");
    else this.#add(key, source, reason, detail);
  }

  #add(key: string, source: Kind["source"], reason: string, detail: string): void {
    const kind: Kind = { source, reason, detail, count: 1, rips: undefined };
    this.#countRip(kind);
    this.#kinds.set(key, kind);
  }

  /** An instruction makes one exit, but for strings: those after the first are not known to be its. */
  #countRip(kind: Kind): void {
    const rip = this.#rip;
    if (rip === undefined) return;
    this.#rip = undefined;
    kind.rips ??= new Map();
    const key = kind.rips.size < MAXIMUM_RIPS || kind.rips.has(rip) ? rip : OTHER_RIPS;
    kind.rips.set(key, (kind.rips.get(key) ?? 0) + 1);
  }
}
