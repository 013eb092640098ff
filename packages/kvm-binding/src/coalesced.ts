import { KVM_COALESCED_MMIO_PAGE_OFFSET } from "./generated/kvm-constants.js";
import { CoalescedEntry, CoalescedRing } from "./generated/layouts.js";

const PAGE_BYTES = 4096;
const CAPACITY = Math.floor((PAGE_BYTES - CoalescedRing.sizeBytes) / CoalescedEntry.sizeBytes);

/**
 * The ring of coalesced writes in a run page (KVM_CAP_COALESCED_MMIO). Every vCPU of a VM sees the same one: with several vCPU threads, let
 * only one of them take from it at a time.
 */
export class CoalescedRingView {
  readonly #ends: Uint32Array;
  readonly #entries: readonly CoalescedEntry[];

  constructor(runPage: ArrayBuffer) {
    const page = new Uint8Array(runPage, KVM_COALESCED_MMIO_PAGE_OFFSET * PAGE_BYTES, PAGE_BYTES);
    this.#ends = new Uint32Array(runPage, page.byteOffset, 2);
    this.#entries = Array.from(
      { length: CAPACITY },
      (_, i) => new CoalescedEntry(page.subarray(CoalescedRing.sizeBytes + i * CoalescedEntry.sizeBytes)),
    );
  }

  /** Whether a write is waiting. */
  get pending(): boolean {
    return Atomics.load(this.#ends, 0) !== Atomics.load(this.#ends, 1);
  }

  /**
   * Hands every waiting write to `handle`, oldest first. The entry is the ring's own memory: read it before returning.
   * @returns how many
   */
  drain(handle: (entry: CoalescedEntry) => void): number {
    let first = Atomics.load(this.#ends, 0) % CAPACITY;
    let count = 0;
    while (first !== Atomics.load(this.#ends, 1) % CAPACITY) {
      handle(this.#entries[first]!);
      first = (first + 1) % CAPACITY;
      Atomics.store(this.#ends, 0, first);
      count++;
    }
    return count;
  }
}
