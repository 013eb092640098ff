import { KvmError } from "./error.js";
import { PerfEventAttr } from "./generated/layouts.js";
import * as p from "./generated/perf-constants.js";
import { EINVAL } from "./generated/system-constants.js";
import { Handle, made } from "./handle.js";
import { native } from "./load-native.js";
import type { NativeHandle } from "./native.d.ts";
import type { StructInit } from "./struct-view.js";

type AttrNumbers = Omit<StructInit<PerfEventAttr>, "size" | "bits" | "bytes">;
type AttrBits = { [K in keyof typeof p.PERF_ATTR_BITS]?: K extends "preciseIp" ? 0 | 1 | 2 | 3 : boolean };

/**
 * perf_event_attr with TypeScript names: `{ type: PERF_TYPE_TRACEPOINT, config: id, samplePeriod: 1, sampleType: ..., sampleIdAll: true }`.
 * `sampleFreq` goes into the samplePeriod field with `freq: true`, as in C's union.
 */
export type PerfAttr = AttrNumbers & AttrBits;

/** perf_event_attr as bytes. `readFormat` as given. */
export function encodePerfAttr(attr: PerfAttr): PerfEventAttr {
  const view = new PerfEventAttr();
  const numbers: Record<string, unknown> = {};
  let bits = 0n;
  for (const [name, value] of Object.entries(attr)) {
    if (value === undefined) continue;
    const bit = (p.PERF_ATTR_BITS as Record<string, number>)[name];
    if (bit === undefined) numbers[name] = value;
    else if (typeof value === "boolean" || (name === "preciseIp" && [0, 1, 2, 3].includes(value as number)))
      bits |= BigInt(value) << BigInt(bit);
    else throw new TypeError(`${name} must be true or false`);
  }
  view.assign(numbers as StructInit<PerfEventAttr>);
  view.size = PerfEventAttr.sizeBytes;
  view.bits = bits;
  return view;
}

export interface PerfTarget {
  /** A thread; 0 this one; -1 every thread of `cpu`. */
  pid: number;
  /** -1 any. */
  cpu: number;
  /** The leader of the group to join. */
  group?: PerfEvent;
  /** PERF_FLAG_*; the descriptor is always close-on-exec. */
  flags?: number;
}

/** A counter at one moment. What `read_format` leaves out is 0. */
export interface PerfCount {
  value: number;
  timeEnabledNs: number;
  timeRunningNs: number;
  id: number;
  /** Records that found no room in the ring (Linux 6.0). */
  lost: number;
}

const DEFAULT_READ_FORMAT = p.PERF_FORMAT_TOTAL_TIME_ENABLED | p.PERF_FORMAT_TOTAL_TIME_RUNNING | p.PERF_FORMAT_ID;

// Where read() gets its numbers: one for all events of a thread, which may be thousands.
const values = new Float64Array(512);

/** One perf event: a counter, a tracepoint or a sampler of one thread or CPU (perf_event_open(2)). */
export class PerfEvent extends Handle {
  readonly readFormat: number;

  private constructor(handle: NativeHandle, readFormat: number) {
    super(handle, made);
    this.readFormat = readFormat;
  }

  /**
   * @param attr without `readFormat`, read() gives all it can: value, times, id and, where the kernel has it, lost
   * @throws KvmError EACCES (perf_event_paranoid), ENOENT (this host has no such event), ESRCH (no such thread), EMFILE
   */
  static open(attr: PerfAttr, target: PerfTarget): PerfEvent {
    if (attr.readFormat !== undefined) return PerfEvent.#open(attr, Number(attr.readFormat), target);
    try {
      return PerfEvent.#open(attr, DEFAULT_READ_FORMAT | p.PERF_FORMAT_LOST, target);
    } catch (error) {
      if (!(error instanceof KvmError) || error.errno !== EINVAL) throw error;
      return PerfEvent.#open(attr, DEFAULT_READ_FORMAT, target); // before Linux 6.0
    }
  }

  static #open(attr: PerfAttr, readFormat: number, { pid, cpu, group, flags = 0 }: PerfTarget): PerfEvent {
    const { bytes } = encodePerfAttr({ ...attr, readFormat });
    return new PerfEvent(
      native.perfOpen(bytes, pid, cpu, group === undefined ? null : group.native, flags),
      readFormat,
    );
  }

  /** PERF_EVENT_IOC_ENABLE. */
  enable(): void {
    native.perfControl(this.native, p.PERF_EVENT_IOC_ENABLE, 0);
  }

  disable(): void {
    native.perfControl(this.native, p.PERF_EVENT_IOC_DISABLE, 0);
  }

  /** Sets the count to 0; the times go on. */
  reset(): void {
    native.perfControl(this.native, p.PERF_EVENT_IOC_RESET, 0);
  }

  setPeriod(period: number | bigint): void {
    native.perfControl(this.native, p.PERF_EVENT_IOC_PERIOD, period);
  }

  /** No new records while paused. */
  pauseOutput(paused: boolean): void {
    native.perfControl(this.native, p.PERF_EVENT_IOC_PAUSE_OUTPUT, paused ? 1 : 0);
  }

  /** An expression over a tracepoint's fields: "reason == 2". Filters before anything is written. */
  setFilter(filter: string): void {
    native.perfSetFilter(this.native, filter);
  }

  /** Records go to the other event's ring (same CPU or thread); null undoes it. */
  setOutput(target: PerfEvent | null): void {
    native.perfSetOutput(this.native, target === null ? null : target.native);
  }

  /** What PERF_SAMPLE_IDENTIFIER says in this event's records. */
  get id(): number {
    return native.perfId(this.native);
  }

  /** The counter now. Not for PERF_FORMAT_GROUP: see readGroup. */
  read(): PerfCount {
    native.perfRead(this.native, values);
    let at = 0;
    const value = values[at++]!;
    const next = (bit: number) => (this.readFormat & bit ? values[at++]! : 0);
    const timeEnabledNs = next(p.PERF_FORMAT_TOTAL_TIME_ENABLED);
    const timeRunningNs = next(p.PERF_FORMAT_TOTAL_TIME_RUNNING);
    const id = next(p.PERF_FORMAT_ID);
    return { value, timeEnabledNs, timeRunningNs, id, lost: next(p.PERF_FORMAT_LOST) };
  }

  /** The counters of a group, of its leader opened with PERF_FORMAT_GROUP, in the order they joined. */
  readGroup(): PerfCount[] {
    if ((this.readFormat & p.PERF_FORMAT_GROUP) === 0)
      throw new KvmError("INVALID", "read(perf)", 0, "not opened with PERF_FORMAT_GROUP");
    native.perfRead(this.native, values);
    let at = 0;
    const next = (bit: number) => (this.readFormat & bit ? values[at++]! : 0);
    const count = values[at++]!;
    const timeEnabledNs = next(p.PERF_FORMAT_TOTAL_TIME_ENABLED);
    const timeRunningNs = next(p.PERF_FORMAT_TOTAL_TIME_RUNNING);
    return Array.from({ length: count }, () => {
      const value = values[at++]!;
      const id = next(p.PERF_FORMAT_ID);
      return { value, timeEnabledNs, timeRunningNs, id, lost: next(p.PERF_FORMAT_LOST) };
    });
  }

  /**
   * Maps the ring that samples arrive in.
   * @param dataPages a power of two pages of 4096 bytes
   * @throws KvmError EPERM, ENOMEM when perf_event_mlock_kb does not allow so much to who is not root
   */
  mapRing(dataPages: number): PerfRing {
    native.perfMap(this.native, dataPages);
    return new PerfRing(this.native, dataPages * 4096);
  }
}

/** The ring of a perf event. It is unmapped when the event is closed. */
export class PerfRing {
  readonly sizeBytes: number;
  readonly #event: NativeHandle;

  /** @internal */
  constructor(event: NativeHandle, sizeBytes: number) {
    this.#event = event;
    this.sizeBytes = sizeBytes;
  }

  /** Bytes waiting. */
  get pendingBytes(): number {
    return native.perfPending(this.#event);
  }

  /**
   * Moves whole records (perf_event_header and what follows), oldest first, into the front of `into`, as many as fit.
   * @returns bytes moved
   * @throws KvmError `INVALID` when not even the first fits (records are at most 64 KiB)
   */
  drain(into: Uint8Array): number {
    return native.perfDrain(this.#event, into);
  }
}
