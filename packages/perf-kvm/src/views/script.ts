/**
 * A recording as text, one line an event. A line begins as those of `perf script --ns` do (thread, CPU, time, event), so
 * that what reads one reads the other; then come the fields of the event by name.
 */
import { PERF_RECORD_SAMPLE } from "@tools-kvm/kvm-binding/uapi";
import { ThreadNames } from "../model/threads.js";
import type { PerfDataReader, RecordBatch } from "../sources/perf-data/reader.js";
import { type Piece, piece, TextBuffer } from "./text-buffer.js";
import { TraceFields } from "./trace-fields.js";

const NEWLINE = 10;
const PERIOD = piece(" period=");
const IP = piece(" ip=0x");
const SECOND_NS = 1e9;
/** perf's column widths. */
const NAME_WIDTH = 16;
const TID_WIDTH = 5;
const SECONDS_WIDTH = 5;
/** Threads whose beginnings of lines are kept; a file may claim any number. */
const MOST_HEADS = 65_536;
const MOST_CPUS = 4096;
/** Threads that are looked at before the map: those that run at the same time. A power of two. */
const RECENT = 64;

interface EventText {
  /** `: EVENT:`, the event right-aligned. */
  readonly title: Piece;
  readonly fields: TraceFields | undefined;
}

export class ScriptPrinter {
  readonly #reader: PerfDataReader;
  readonly #write: (bytes: Uint8Array) => void;
  readonly #out = new TextBuffer();
  readonly #names = new ThreadNames();
  readonly #heads = new Map<number, Piece>();
  #events: EventText[] = [];
  readonly #recentTids = new Float64Array(RECENT).fill(-1);
  readonly #recentHeads = new Array<Piece>(RECENT).fill(piece(""));
  /** `[CPU] `, by CPU. */
  readonly #cpus: Piece[] = [];
  #baseSeconds = 0;
  #baseNs = 0;
  #seconds = Number.NaN;
  #secondsText: Piece = piece("");

  /** `write` gets whole lines, in bytes that it must not keep. */
  constructor(reader: PerfDataReader, write: (bytes: Uint8Array) => void) {
    this.#reader = reader;
    this.#write = write;
  }

  /** Prints the whole recording. Throws PerfDataError. */
  run(): void {
    try {
      for (const batch of this.#reader.batches()) this.#print(batch);
    } finally {
      this.#write(this.#out.take());
    }
  }

  #print({ view, offsets, timesNs, length }: RecordBatch): void {
    if (this.#events.length !== this.#reader.events.list.length) this.#describeEvents();
    const base = this.#reader.timeBaseNs;
    this.#baseSeconds = Number(base / BigInt(SECOND_NS));
    this.#baseNs = Number(base % BigInt(SECOND_NS));
    for (let i = 0; i < length; i++) {
      const at = offsets[i]!;
      if (view.getUint32(at, true) === PERF_RECORD_SAMPLE) {
        this.#sample(view, at, timesNs[i]!);
        if (this.#out.isFull) this.#write(this.#out.take());
      } else {
        this.#names.note(view, at);
        this.#heads.clear();
        this.#recentTids.fill(-1);
      }
    }
  }

  #sample(view: DataView, at: number, timeNs: number): void {
    const { list } = this.#reader.events;
    const out = this.#out;
    const end = at + view.getUint16(at + 6, true);
    const index = this.#reader.eventIndexAt(view, at);
    const event = this.#events[index];
    if (event === undefined) return;
    const { layout } = list[index]!;
    if (layout.tid >= 0) out.piece(this.#headOf(view.getUint32(at + layout.tid + 4, true)));
    if (layout.cpu >= 0) {
      const cpu = view.getUint32(at + layout.cpu, true);
      out.piece(this.#cpuPiece(cpu));
    }
    if (layout.time >= 0 && timeNs >= -Number.MAX_VALUE) this.#time(timeNs);
    out.piece(event.title);
    const raw = layout.rawAt(view, at, end);
    if (raw >= 0 && event.fields !== undefined) {
      event.fields.print(out, view, raw + 4, raw + 4 + view.getUint32(raw, true));
    } else {
      if (layout.period >= 0) {
        out.piece(PERIOD);
        out.decimal(view.getUint32(at + layout.period, true) + view.getUint32(at + layout.period + 4, true) * 2 ** 32);
      }
      if (layout.ip >= 0) {
        out.piece(IP);
        out.hex(view.getUint32(at + layout.ip, true), view.getUint32(at + layout.ip + 4, true));
      }
    }
    out.byte(NEWLINE);
  }

  #headOf(tid: number): Piece {
    const recent = tid & (RECENT - 1);
    if (tid === this.#recentTids[recent]) return this.#recentHeads[recent]!;
    let head = this.#heads.get(tid);
    if (head === undefined) {
      if (this.#heads.size >= MOST_HEADS) this.#heads.clear();
      head = piece(`${this.#names.of(tid).padStart(NAME_WIDTH)} ${String(tid | 0).padStart(TID_WIDTH)} `);
      this.#heads.set(tid, head);
    }
    this.#recentTids[recent] = tid;
    this.#recentHeads[recent] = head;
    return head;
  }

  #cpuPiece(cpu: number): Piece {
    if (cpu >= MOST_CPUS) return cpuPiece(cpu);
    this.#cpus[cpu] ??= cpuPiece(cpu);
    return this.#cpus[cpu];
  }

  #time(timeNs: number): void {
    const ns = this.#baseNs + timeNs;
    const seconds = Math.floor(ns / SECOND_NS);
    if (seconds !== this.#seconds) {
      this.#seconds = seconds;
      this.#secondsText = piece(`${String(this.#baseSeconds + seconds).padStart(SECONDS_WIDTH)}.`);
    }
    this.#out.piece(this.#secondsText);
    this.#out.padded(ns - seconds * SECOND_NS, 9);
  }

  #describeEvents(): void {
    const { features, events } = this.#reader;
    const width = Math.max(...events.list.map(({ name }) => name.length), 0);
    this.#events = events.list.map(({ name, attr }) => {
      const format = features.formats?.get(Number(attr.config));
      const fields = format === undefined ? undefined : new TraceFields(format.name, format.text);
      return { title: piece(`: ${name.padStart(width)}:`), fields };
    });
  }
}

function cpuPiece(cpu: number): Piece {
  return piece(`[${String(cpu).padStart(3, "0")}] `);
}
