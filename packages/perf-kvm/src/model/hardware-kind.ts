/** Exits of one reason, and what other tracepoints told of them before the guest was entered again. */
import { EVENT } from "../columns/events.js";
import { type RipBudget, RipTally } from "./rip-tally.js";
import { Stat } from "./stat.js";

/** kvm_mmio.type of a write (include/trace/events/kvm.h). */
const MMIO_WRITE = 2;
/** Page faults are told apart by the pages of 2 MiB they are in: a guest that touches its memory makes one of each. */
const FAULT_REGION = 2 ** 21;
const MAXIMUM_DETAILS = 256;
const MAXIMUM_REGIONS = 64;

export class HardwareKind {
  readonly reason: string;
  readonly detail: string;
  /** The event (one of EVENT) that told the detail; -1 when it is the exit's own. */
  readonly event: number;
  readonly stat = new Stat();
  /** How much of these times a halted vCPU was only waited for. */
  waitedNs = 0;
  readonly rips: RipTally | undefined;
  readonly #ripBudget: RipBudget | undefined;
  readonly #base: HardwareKind;
  /** Kinds of this reason with a detail, by event and by what it told. */
  readonly #details: Map<number, HardwareKind>[] = [];
  readonly #others: (HardwareKind | undefined)[] = [];
  #detailCount = 0;

  constructor(reason: string, detail: string, ripBudget?: RipBudget, event = -1, base?: HardwareKind) {
    this.reason = reason;
    this.detail = detail;
    this.event = event;
    this.#ripBudget = ripBudget;
    this.rips = ripBudget && new RipTally(ripBudget);
    this.#base = base ?? this;
  }

  /** The kind of an exit of this reason of which an event told this; found by number: nothing may be made for each. */
  detailed(event: number, variant: number, value: number): HardwareKind {
    // A fault on a page without memory is an access to a device, and that event tells more.
    if (event === EVENT.PAGE_FAULT && this.event !== -1) return this;
    const base = this.#base;
    const kinds = base.#details[event];
    return kinds?.get(keyOf(event, variant, value)) ?? base.#newDetail(event, variant, value);
  }

  /** The part of these times that was work. */
  get workShare(): number {
    const { sumNs } = this.stat;
    return sumNs === 0 ? 1 : (sumNs - this.waitedNs) / sumNs;
  }

  clear(): void {
    this.stat.clear();
    this.waitedNs = 0;
  }

  /** This kind and those with details. */
  all(): HardwareKind[] {
    return [
      this,
      ...this.#details.flatMap((kinds) => [...(kinds?.values() ?? [])]),
      ...this.#others.filter((other) => other !== undefined),
    ];
  }

  #newDetail(event: number, variant: number, value: number): HardwareKind {
    const isFull =
      this.#detailCount >= MAXIMUM_DETAILS ||
      (event === EVENT.PAGE_FAULT && (this.#details[event]?.size ?? 0) >= MAXIMUM_REGIONS);
    const other = isFull ? this.#others[event] : undefined;
    if (other !== undefined) return other;
    const detail = isFull ? "other" : detailText(event, variant, value);
    const kind = new HardwareKind(this.reason, detail, this.#ripBudget, event, this);
    if (isFull) this.#others[event] = kind;
    else {
      const kinds = this.#details[event] ?? new Map<number, HardwareKind>();
      this.#details[event] = kinds.set(keyOf(event, variant, value), kind);
      this.#detailCount++;
    }
    return kind;
  }
}

function keyOf(event: number, variant: number, value: number): number {
  if (event === EVENT.PAGE_FAULT) return Math.floor(value / FAULT_REGION);
  if (event === EVENT.WAKEUP) return variant;
  return 2 * value + (isWrite(event, variant) ? 1 : 0);
}

function isWrite(event: number, variant: number): boolean {
  return event === EVENT.MMIO ? variant === MMIO_WRITE : event === EVENT.MSR && variant === 1;
}

/** In the words of the events: a port, an address or a register with its direction, a leaf, a region of memory, how a halt ended. */
function detailText(event: number, variant: number, value: number): string {
  const number = `0x${value.toString(16)}`;
  if (event === EVENT.WAKEUP) return variant === 0 ? "polled" : "slept";
  if (event === EVENT.CPUID) return `leaf ${number}`;
  if (event === EVENT.PAGE_FAULT) return `0x${(Math.floor(value / FAULT_REGION) * FAULT_REGION).toString(16)}+2M`;
  return `${number} ${isWrite(event, variant) ? "out" : "in"}`;
}
