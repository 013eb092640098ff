/**
 * The exits of a recording one by one, in the order in which they ended: for formats that show each of them. Pairs are
 * those of RecordingTally: an exit lasts until its thread's next entry, and none counts before the first entry. Where
 * kvm_exit never fires, exits to user space are moments without an end.
 */
import { PERF_RECORD_SAMPLE, PERF_TYPE_TRACEPOINT } from "@tools-kvm/kvm-binding/uapi";
import { EVENT, EventColumns, EventDecoder } from "../columns/events.js";
import { hardwareExitDetail, hardwareExitName, hasDetail, userspaceExitName } from "../exits/names.js";
import type { SampleLayout } from "../sources/perf-data/attr.js";
import type { PerfDataReader } from "../sources/perf-data/reader.js";
import { parseTraceFormat, type TraceFormat } from "../sources/trace-format.js";
import { ThreadNames } from "./threads.js";
import { UserspaceAccess, type UserspaceExit } from "./userspace-access.js";

/** What an exit was. */
export interface ExitKind {
  /** Its place in `ExitIntervals.kinds`. */
  readonly index: number;
  readonly reason: string;
  /** Port, address or MSR with the direction; empty when the recording does not say. */
  readonly detail: string;
}

export interface RecordedThread {
  /** Its place in `ExitIntervals.threads`. */
  readonly index: number;
  readonly tid: number;
  readonly pid: number;
  /** By its first entry; -1 when the recording does not say. */
  vcpu: number;
}

/** A sample of a thread that lies at `at` of `view`. */
export type OnSample = (
  thread: RecordedThread,
  view: DataView,
  at: number,
  layout: SampleLayout,
  timeNs: number,
) => void;

/** One exit. The same object is used for the next: keep nothing of it. */
export interface ExitInterval {
  thread: RecordedThread;
  kind: ExitKind;
  /** Nanoseconds since `ExitIntervals.timeBaseNs`. */
  startNs: number;
  /** NaN for an exit of which only the moment is known. */
  endNs: number;
}

/** A file may claim any number of either; there are never so many that a person could look at. */
const MOST_THREADS = 2048;
const MOST_KINDS = 65_536;

export function lostNote(lost: number): string {
  return `${lost} records were LOST when it was recorded: exits are missing`;
}

interface Thread extends RecordedThread {
  hasEntered: boolean;
  hasHardwareExits: boolean;
  /** The exit that has not ended yet, from `exitNs` on. */
  pending: ExitKind | undefined;
  exitNs: number;
  readonly access: UserspaceAccess;
}

export class ExitIntervals {
  readonly threads: Thread[] = [];
  readonly kinds: ExitKind[] = [];
  readonly names = new ThreadNames();
  readonly #reader: PerfDataReader;
  /** Events of threads beyond the first 2048. */
  #leftOut = 0;
  readonly #byTid = new Map<number, Thread>();
  readonly #byHardware = new Map<string, ExitKind>();
  readonly #byName = new Map<string, ExitKind>();
  readonly #event = new EventColumns(1);
  readonly #onSample: OnSample | undefined;

  /** @param onSample gets every sample of an event that is no tracepoint, in its turn */
  constructor(reader: PerfDataReader, onSample?: OnSample) {
    this.#reader = reader;
    this.#onSample = onSample;
  }

  /** What times count from, by the kernel's clock; known once there has been an exit. */
  get timeBaseNs(): bigint {
    return this.#reader.timeBaseNs;
  }

  /** What is missing, and why; complete when all has been read. */
  notes(): string[] {
    const { isUnclosed, unknown, late, lost, events } = this.#reader;
    const names = events.list.map(({ name }) => name).join(", ");
    return [
      ...(isUnclosed ? ["the recording was not closed by its writer: it may lack its end"] : []),
      ...(unknown > 0 ? [`${unknown} samples belong to no event of the file`] : []),
      ...(late > 0 ? [`${late} records came late: times may be wrong`] : []),
      ...(lost > 0 ? [lostNote(lost)] : []),
      ...(this.#leftOut > 0 ? [`more than ${MOST_THREADS} threads: ${this.#leftOut} events are left out`] : []),
      ...(this.kinds.length === 0 ? [`no exits in it; its events: ${names === "" ? "none" : names}`] : []),
    ];
  }

  /** A name for a thread's machine: its process's. */
  machineOf({ pid }: RecordedThread): string {
    return this.names.of(pid);
  }

  /** Reads the recording, once. Throws PerfDataError. */
  *read(): Generator<Readonly<ExitInterval>, void, void> {
    const reader = this.#reader;
    const exit = { endNs: Number.NaN } as ExitInterval;
    let decoder: EventDecoder | undefined;
    let vcpuOffset = -1;
    for (const { view, offsets, timesNs, length } of reader.batches()) {
      if (decoder === undefined) {
        const formats = formatsOf(reader);
        decoder = new EventDecoder(formats);
        vcpuOffset = formats.find(({ name }) => name === "kvm_entry")?.fields.get("vcpu_id")?.offset ?? -1;
      }
      const { uniform, list } = reader.events;
      const hasSamples = list.some(({ attr }) => attr.type !== PERF_TYPE_TRACEPOINT);
      for (let i = 0; i < length; i++) {
        const at = offsets[i]!;
        if (view.getUint32(at, true) !== PERF_RECORD_SAMPLE) {
          this.names.note(view, at);
          continue;
        }
        const layout = uniform ?? list[reader.eventIndexAt(view, at)]!.layout;
        if (hasSamples && list[reader.eventIndexAt(view, at)]!.attr.type !== PERF_TYPE_TRACEPOINT) {
          const sampled = layout.tid < 0 ? undefined : this.#threadAt(view, at + layout.tid);
          if (sampled !== undefined) this.#onSample?.(sampled, view, at, layout, timesNs[i]!);
          continue;
        }
        const raw = layout.rawAt(view, at, at + view.getUint16(at + 6, true));
        const timeNs = timesNs[i]!;
        if (raw < 0 || layout.tid < 0 || layout.time < 0 || timeNs === Number.NEGATIVE_INFINITY) continue;
        const rawBytes = view.getUint32(raw, true);
        const event = this.#event;
        event.length = 0;
        decoder.append(view, raw + 4, rawBytes, timeNs, event);
        if (event.length === 0) continue;
        const thread = this.#threadAt(view, at + layout.tid);
        if (thread === undefined) continue;
        if (event.kind[0] === EVENT.ENTRY && !thread.hasEntered) {
          thread.hasEntered = true;
          if (vcpuOffset >= 0 && vcpuOffset + 4 <= rawBytes) {
            thread.vcpu = view.getUint32(raw + 4 + vcpuOffset, true);
          }
        }
        if (event.kind[0] === EVENT.EXIT || event.kind[0] === EVENT.ENTRY) {
          if (this.#hardware(thread, timeNs, exit)) yield exit;
        } else {
          for (const done of this.#userspace(thread, timeNs)) if (this.#moment(thread, done, exit)) yield exit;
        }
      }
    }
    for (const thread of this.threads) {
      const left = thread.access.settle();
      if (left !== undefined && this.#moment(thread, left, exit)) yield exit;
    }
  }

  /** kvm_exit or kvm_entry; true when `exit` has become an exit that has ended. */
  #hardware(thread: Thread, timeNs: number, exit: ExitInterval): boolean {
    const { kind, reason, variant, detail } = this.#event;
    if (kind[0] === EVENT.EXIT) {
      thread.hasHardwareExits = true;
      if (!thread.hasEntered) return false;
      thread.pending = this.#hardwareKind(variant[0]!, reason[0]!, detail[0]!);
      thread.exitNs = timeNs;
      return false;
    }
    const { pending } = thread;
    if (pending === undefined) return false;
    thread.pending = undefined;
    exit.thread = thread;
    exit.kind = pending;
    exit.startNs = thread.exitNs;
    exit.endNs = Math.max(timeNs, thread.exitNs);
    return true;
  }

  /** The exits to user space that this event completes. */
  #userspace(thread: Thread, timeNs: number): readonly UserspaceExit[] {
    const { kind, reason, variant, detail } = this.#event;
    if (kind[0] === EVENT.USERSPACE_EXIT) return thread.access.exit(reason[0]!, timeNs);
    if (kind[0] !== EVENT.PIO && kind[0] !== EVENT.MMIO) return [];
    const done = thread.access.access(kind[0]!, variant[0]!, detail[0]!);
    return done === undefined ? [] : [done];
  }

  #moment(thread: Thread, { reason, detail, timeNs }: UserspaceExit, exit: ExitInterval): boolean {
    // It is part of an exit that is paired.
    if (thread.hasHardwareExits) return false;
    exit.thread = thread;
    exit.kind = this.#kind(userspaceExitName(reason), detail);
    exit.startNs = timeNs;
    exit.endNs = Number.NaN;
    return true;
  }

  /** Of the process and thread that stand there. */
  #threadAt(view: DataView, at: number): Thread | undefined {
    const [pid, tid] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
    let thread = this.#byTid.get(tid);
    if (thread !== undefined) return thread;
    const index = this.threads.length;
    if (index >= MOST_THREADS) {
      this.#leftOut++;
      return undefined;
    }
    const access = new UserspaceAccess();
    thread = {
      ...{ index, tid, pid, vcpu: -1, hasEntered: false, hasHardwareExits: false },
      ...{ pending: undefined, exitNs: 0, access },
    };
    this.#byTid.set(tid, thread);
    this.threads.push(thread);
    return thread;
  }

  #hardwareKind(isa: number, reason: number, info1: number): ExitKind {
    const key = hasDetail(isa, reason) ? `${isa} ${reason} ${info1}` : `${isa} ${reason}`;
    const known = this.#byHardware.get(key);
    if (known !== undefined) return known;
    const kind = this.#kind(hardwareExitName(isa, reason), hardwareExitDetail(isa, reason, info1));
    if (this.#byHardware.size < MOST_KINDS) this.#byHardware.set(key, kind);
    return kind;
  }

  #kind(reason: string, detail: string): ExitKind {
    const key = `${reason} ${detail}`;
    const known = this.#byName.get(key);
    if (known !== undefined) return known;
    const index = this.kinds.length;
    if (index >= MOST_KINDS && detail !== "") return this.#kind(reason, "");
    if (index >= 2 * MOST_KINDS && reason !== "OTHER") return this.#kind("OTHER", "");
    const kind = { index, reason, detail };
    this.#byName.set(key, kind);
    this.kinds.push(kind);
    return kind;
  }
}

function formatsOf(reader: PerfDataReader): TraceFormat[] {
  return [...(reader.features.formats?.values() ?? [])]
    .filter(({ system }) => system === "kvm")
    .map(({ text }) => parseTraceFormat(text));
}
