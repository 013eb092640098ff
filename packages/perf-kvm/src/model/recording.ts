/**
 * Counts the exits of a recording, as `perf kvm stat report` does: by thread, each exit until the thread's next entry. What
 * a thread did before its first entry is not counted, since it may have begun before the recording.
 *
 * Pairs are made within a thread, so only a thread's own events have to be in order. They are decoded as the file has
 * them, while they are hot, and wait for two rounds (see PerfDataReader); a thread that has moved to another CPU
 * meanwhile is sorted.
 */
import { PERF_RECORD_SAMPLE } from "@tools-kvm/kvm-binding/uapi";
import { copyEvents, dropEvents, EVENT, EventColumns, EventDecoder } from "../columns/events.js";
import type { SampleLayout } from "../sources/perf-data/attr.js";
import type { FileBatch, PerfDataReader } from "../sources/perf-data/reader.js";
import { countUntil, TimeOrder } from "../sources/perf-data/time-order.js";
import { parseTraceFormat, type TraceFormat } from "../sources/trace-format.js";
import { Accumulator } from "./accumulator.js";
import { exitRows } from "./exit-rows.js";
import { ExitTally } from "./exit-tally.js";
import { KindBudget } from "./kind-budget.js";
import type { ExitRow, Report } from "./report.js";
import { ThreadNames } from "./threads.js";

/** What makes a row: a reason; a reason with its port, address or MSR; or that for each vCPU. */
export const GROUPINGS = ["reason", "detail", "vcpu"] as const;
export type Grouping = (typeof GROUPINGS)[number];

const FIRST_EVENTS = 512;
/** Of all threads together. A file whose rounds are larger is counted in pieces. */
const MOST_WAITING_EVENTS = 2 ** 22;
/** vCPU threads beyond this many (a file may claim any) are not counted, and the report says so. */
const MOST_THREADS = 2048;

interface Thread {
  readonly tid: number;
  readonly pid: number;
  readonly tally: ExitTally;
  /** What waits for its round. */
  columns: EventColumns;
  isSorted: boolean;
  newestNs: number;
  /** Up to here it has been counted. */
  countedNs: number;
  /** By its first entry; -1 before that. */
  vcpu: number;
  hasEntered: boolean;
}

export class RecordingTally {
  readonly #reader: PerfDataReader;
  readonly #also: ((batch: FileBatch) => void) | undefined;
  readonly #names = new ThreadNames();
  readonly #threads = new Map<number, Thread>();
  readonly #budget = new KindBudget();
  #decoder: EventDecoder | undefined;
  #vcpuOffset = -1;
  #last: Thread | undefined;
  #uncounted = 0;
  #waiting = 0;
  #late = 0;
  #roundNs = Number.NEGATIVE_INFINITY;
  #firstNs = Number.POSITIVE_INFINITY;
  #lastNs = Number.NEGATIVE_INFINITY;

  /** @param also gets every batch as well: a file is read once, a stream cannot be read twice */
  constructor(reader: PerfDataReader, also?: (batch: FileBatch) => void) {
    this.#reader = reader;
    this.#also = also;
  }

  /** Reads the whole recording. Throws PerfDataError. */
  run(): void {
    for (const batch of this.#reader.fileBatches()) {
      this.#also?.(batch);
      this.#consume(batch);
      if (batch.endsRound) {
        this.#count(this.#roundNs);
        this.#roundNs = this.#lastNs;
      } else if (this.#waiting > MOST_WAITING_EVENTS) this.#count(Number.POSITIVE_INFINITY);
    }
    this.#count(Number.POSITIVE_INFINITY);
  }

  report(by: Grouping): Report {
    const { lost } = this.#reader;
    const seconds = Math.max(this.#lastNs - this.#firstNs, 1) / 1e9;
    const pids = new Map<number, Thread[]>();
    for (const thread of this.#threads.values()) pids.set(thread.pid, [...(pids.get(thread.pid) ?? []), thread]);
    const rows: ExitRow[] = [];
    const machines = [...pids].flatMap(([pid, threads]) => {
      const machine = { name: this.#names.of(pid), pid };
      // Where kvm_entry never fires, the threads that left for user space are what there is.
      const vcpus = threads.filter(({ hasEntered }) => hasEntered).length || threads.length;
      const found = by === "vcpu" ? byVcpu(threads, machine, seconds) : exitRows(rowsOf(threads, by), machine, seconds);
      rows.push(...found);
      const sources = [...new Set(found.map(({ source }) => source))];
      return found.length === 0 ? [] : [{ ...machine, vcpus, sources }];
    });
    return { seconds, machines, rows, stats: [], lost, notes: this.#notes(rows.length > 0) };
  }

  #notes(hasRows: boolean): string[] {
    const { unknown, isUnclosed, events } = this.#reader;
    const notes: string[] = [];
    if (isUnclosed)
      notes.push("the recording was not closed by its writer: it may lack its end, and says nothing of itself");
    if (this.#late > 0) notes.push(`${this.#late} records came late: times may be wrong`);
    if (unknown > 0) notes.push(`${unknown} samples belong to no event of the file`);
    if (this.#uncounted > 0) notes.push(`more than ${MOST_THREADS} threads: ${this.#uncounted} events are not counted`);
    if (!hasRows) {
      const names = events.list.map(({ name }) => name).join(", ");
      notes.push(`no exits in it; its events: ${names === "" ? "none" : names}`);
    }
    return notes;
  }

  #consume({ view, offsets, timesNs, length }: FileBatch): void {
    // In a stream, the formats come as records: by the first sample they are there.
    if (length === 0) return;
    this.#decoder ??= this.#makeDecoder();
    const { uniform, list } = this.#reader.events;
    for (let i = 0; i < length; i++) {
      const at = offsets[i]!;
      if (view.getUint32(at, true) === PERF_RECORD_SAMPLE) {
        const layout = uniform ?? list[this.#reader.eventIndexAt(view, at)]!.layout;
        this.#sample(view, at, layout, timesNs[i]!);
      } else this.#names.note(view, at);
    }
  }

  #sample(view: DataView, at: number, layout: SampleLayout, timeNs: number): void {
    if (timeNs > this.#lastNs) this.#lastNs = timeNs;
    if (timeNs < this.#firstNs && timeNs !== Number.NEGATIVE_INFINITY) this.#firstNs = timeNs;
    const raw = layout.rawAt(view, at, at + view.getUint16(at + 6, true));
    // An exit without a time or a thread cannot be paired.
    if (raw < 0 || layout.tid < 0 || layout.time < 0 || timeNs === Number.NEGATIVE_INFINITY) return;
    const decoder = this.#decoder!;
    const rawBytes = view.getUint32(raw, true);
    const kind = decoder.kindOf(view, raw + 4, rawBytes);
    if (kind < 0) return;
    const thread = this.#threadOf(view, at + layout.tid);
    if (thread === undefined) return;
    if (kind === EVENT.ENTRY && !thread.hasEntered) this.#enter(thread, view, raw + 4, rawBytes);
    if (timeNs < thread.newestNs) {
      thread.isSorted = false;
      if (timeNs < thread.countedNs) this.#late++;
    } else thread.newestNs = timeNs;
    if (thread.columns.length === thread.columns.capacity)
      thread.columns = copyEvents(thread.columns, 2 * thread.columns.capacity);
    const before = thread.columns.length;
    decoder.append(view, raw + 4, rawBytes, timeNs, thread.columns);
    this.#waiting += thread.columns.length - before;
  }

  /** Counts what waits and is not newer than `limitNs`. */
  #count(limitNs: number): void {
    this.#waiting = 0;
    for (const thread of this.#threads.values()) {
      countUpTo(thread, limitNs);
      this.#waiting += thread.columns.length;
    }
  }

  #makeDecoder(): EventDecoder {
    const formats: TraceFormat[] = [];
    for (const { text, system } of this.#reader.features.formats?.values() ?? []) {
      if (system === "kvm") formats.push(parseTraceFormat(text));
    }
    this.#vcpuOffset = formats.find(({ name }) => name === "kvm_entry")?.fields.get("vcpu_id")?.offset ?? -1;
    return new EventDecoder(formats);
  }

  #threadOf(view: DataView, at: number): Thread | undefined {
    const tid = view.getUint32(at + 4, true);
    if (this.#last?.tid === tid) return this.#last;
    let thread = this.#threads.get(tid);
    if (thread === undefined) {
      if (this.#threads.size >= MOST_THREADS) {
        this.#uncounted++;
        return undefined;
      }
      const pid = view.getUint32(at, true);
      thread = {
        tid,
        pid,
        tally: new ExitTally(this.#budget, { fromEntry: true }),
        columns: new EventColumns(FIRST_EVENTS),
        isSorted: true,
        newestNs: Number.NEGATIVE_INFINITY,
        countedNs: Number.NEGATIVE_INFINITY,
        vcpu: -1,
        hasEntered: false,
      };
      this.#threads.set(tid, thread);
    }
    this.#last = thread;
    return thread;
  }

  #enter(thread: Thread, view: DataView, raw: number, rawBytes: number): void {
    thread.hasEntered = true;
    if (this.#vcpuOffset >= 0 && this.#vcpuOffset + 4 <= rawBytes) {
      thread.vcpu = view.getUint32(raw + this.#vcpuOffset, true);
    }
  }
}

function countUpTo(thread: Thread, limitNs: number): void {
  if (!thread.isSorted) thread.columns = sorted(thread.columns);
  thread.isSorted = true;
  const { columns, tally } = thread;
  const { length, timeNs } = columns;
  if (length === 0) return;
  const count = countUntil(timeNs, length, limitNs);
  if (count === 0) return;
  thread.countedNs = timeNs[count - 1]!;
  columns.length = count;
  tally.consume(columns);
  columns.length = length;
  dropEvents(columns, count);
}

function sorted(columns: EventColumns): EventColumns {
  const order = new TimeOrder();
  for (let i = 0; i < columns.length; i++) order.add(columns.timeNs[i]!, i);
  order.sort(Number.POSITIVE_INFINITY);
  return copyEvents(columns, columns.capacity, order.values);
}

function rowsOf(threads: readonly Thread[], by: Grouping) {
  const rows = ExitTally.rows(threads.map(({ tally }) => tally));
  if (by !== "reason") return rows;
  const sum = new Accumulator();
  sum.add(rows.map((row) => ({ ...row, detail: "" })));
  return sum.rows;
}

/** Shares are those of the whole machine, so that vCPUs can be compared. */
function byVcpu(threads: readonly Thread[], machine: { name: string; pid: number }, seconds: number): ExitRow[] {
  const all = threads.flatMap((thread) => rowsOf([thread], "detail").map((row) => ({ row, vcpu: thread.vcpu })));
  const rows = exitRows(
    all.map(({ row }) => row),
    machine,
    seconds,
  );
  return rows.map((row, index) => ({ ...row, vcpu: all[index]!.vcpu }));
}
