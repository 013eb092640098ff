/** Samples of a recording that fell into a guest, by its function. The kernel tells them apart from the host's (PERF_RECORD_MISC_GUEST_*). */
import {
  PERF_RECORD_MISC_CPUMODE_MASK,
  PERF_RECORD_MISC_GUEST_KERNEL,
  PERF_RECORD_MISC_GUEST_USER,
  PERF_RECORD_SAMPLE,
  PERF_TYPE_TRACEPOINT,
} from "@tools-kvm/kvm-binding/uapi";
import type { FileBatch, PerfDataReader } from "../sources/perf-data/reader.js";
import { readAddress } from "../symbols/address.js";
import { type AddressResolver, functionOf } from "../symbols/resolver.js";

/** One function of a guest, or all addresses that have no name for the same reason. */
export interface GuestSampleRow {
  readonly pid: number;
  readonly mode: "kernel" | "user";
  /** The function; null where `why` says that it has no name. */
  readonly symbol: string | null;
  readonly why: string | null;
  readonly count: number;
  /** Of the samples of all guests, 0 to 1. */
  readonly share: number;
}

export interface GuestSamples {
  /** Names of the events that were sampled. */
  readonly events: readonly string[];
  /** Of guests and of the host together. */
  readonly samples: number;
  readonly guestSamples: number;
  readonly rows: readonly GuestSampleRow[];
}

const MISC_OFFSET = 4;
/** Instructions of all guests together; a file may claim any. Beyond this many they are one. */
const MOST_ADDRESSES = 2 ** 18;
const MOST_PROCESSES = 1024;

interface Process {
  readonly kernel: Map<number, number>;
  readonly user: Map<number, number>;
}

export class GuestSampleTally {
  readonly #reader: PerfDataReader;
  readonly #processes = new Map<number, Process>();
  #addresses = 0;
  #samples = 0;
  #guestSamples = 0;
  /** Samples whose instruction was not kept, by mode. */
  readonly #others = { kernel: 0, user: 0 };

  constructor(reader: PerfDataReader) {
    this.#reader = reader;
  }

  consume({ view, offsets, length }: FileBatch): void {
    const { list } = this.#reader.events;
    if (list.every(({ attr }) => attr.type === PERF_TYPE_TRACEPOINT)) return;
    for (let i = 0; i < length; i++) {
      const at = offsets[i]!;
      if (view.getUint32(at, true) !== PERF_RECORD_SAMPLE) continue;
      const event = list[this.#reader.eventIndexAt(view, at)];
      if (event === undefined || event.attr.type === PERF_TYPE_TRACEPOINT) continue;
      const { ip, tid } = event.layout;
      this.#samples++;
      const mode = view.getUint16(at + MISC_OFFSET, true) & PERF_RECORD_MISC_CPUMODE_MASK;
      if (ip < 0 || tid < 0) continue;
      if (mode === PERF_RECORD_MISC_GUEST_KERNEL) this.#add(view.getUint32(at + tid, true), "kernel", view, at + ip);
      else if (mode === PERF_RECORD_MISC_GUEST_USER) this.#add(view.getUint32(at + tid, true), "user", view, at + ip);
    }
  }

  /** Undefined when nothing was sampled. */
  report(symbolsOf: (machine: { readonly pid: number }) => AddressResolver): GuestSamples | undefined {
    const sampled = this.#reader.events.list.filter(({ attr }) => attr.type !== PERF_TYPE_TRACEPOINT);
    if (sampled.length === 0) return undefined;
    const rows = [...this.#processes].flatMap(([pid, { kernel, user }]) => {
      const resolver = symbolsOf({ pid });
      const inUserSpace: AddressResolver = { resolve: () => ({ why: "user space of the guest" }) };
      return [...this.#rows(pid, "kernel", kernel, resolver), ...this.#rows(pid, "user", user, inUserSpace)];
    });
    for (const mode of ["kernel", "user"] as const) {
      const count = this.#others[mode];
      const why = `more than ${MOST_ADDRESSES} instructions: not kept`;
      if (count > 0) rows.push({ pid: 0, mode, symbol: null, why, count, share: count / this.#guestSamples });
    }
    return {
      events: sampled.map(({ name }) => name),
      samples: this.#samples,
      guestSamples: this.#guestSamples,
      rows: rows.sort((a, b) => b.count - a.count || nameOf(a).localeCompare(nameOf(b))),
    };
  }

  #rows(pid: number, mode: "kernel" | "user", counts: Map<number, number>, resolver: AddressResolver) {
    const rows = new Map<string, Omit<GuestSampleRow, "share">>();
    for (const [address, count] of counts) {
      const found = resolver.resolve(address);
      const symbol = functionOf(found) ?? null;
      const why = "why" in found ? found.why : null;
      const key = symbol ?? ` ${why}`;
      rows.set(key, { pid, mode, symbol, why, count: count + (rows.get(key)?.count ?? 0) });
    }
    return [...rows.values()].map((row): GuestSampleRow => ({ ...row, share: row.count / this.#guestSamples }));
  }

  #add(pid: number, mode: "kernel" | "user", view: DataView, at: number): void {
    this.#guestSamples++;
    let process = this.#processes.get(pid);
    if (process === undefined && this.#processes.size < MOST_PROCESSES) {
      process = { kernel: new Map(), user: new Map() };
      this.#processes.set(pid, process);
    }
    const address = readAddress(view, at);
    const count = process?.[mode].get(address);
    if (process === undefined || (count === undefined && this.#addresses >= MOST_ADDRESSES)) this.#others[mode]++;
    else {
      if (count === undefined) this.#addresses++;
      process[mode].set(address, (count ?? 0) + 1);
    }
  }
}

function nameOf({ symbol, why }: GuestSampleRow): string {
  return symbol ?? why ?? "";
}
