/**
 * KVM's tracepoints on the vCPU threads of one machine, by perf_event_open(2): one ring a thread, drained often, decoded
 * into columns, paired and counted at once.
 */
import {
  monotonicNs,
  PERF_SAMPLE_RAW,
  PERF_SAMPLE_TIME,
  PERF_TYPE_TRACEPOINT,
  PerfEvent,
  type PerfRing,
} from "@tools-kvm/kvm-binding";
import { EventColumns, EventDecoder } from "../columns/events.js";
import type { FollowedThread } from "../discover/machines.js";
import { captureFilter, detailOf, type EventKind } from "../exits/event-kinds.js";
import { ExitTally, type TracedTimes } from "../model/exit-tally.js";
import { RipBudget } from "../model/rip-tally.js";
import { ringPages } from "./ring-size.js";
import type { ExitSource, SourceRow } from "./source.js";
import { kvmTraceFormat, type TraceFormat } from "./trace-format.js";

/** Where kvm_exit fires, it says all; elsewhere the exits to user space are what there is. */
export const HARDWARE_EVENTS = ["kvm_exit", "kvm_entry"] as const;
/** What says more about an exit by kvm_exit: an address, a register, a leaf, how a halted vCPU was waited for. */
const DETAIL_EVENTS = ["kvm_mmio", "kvm_msr", "kvm_cpuid", "kvm_page_fault", "kvm_vcpu_wakeup"] as const;
export const USERSPACE_EVENTS = ["kvm_userspace_exit", "kvm_pio", "kvm_mmio"] as const;

/** Beside them: what KVM emulates itself. */
const EMULATION_EVENTS = ["kvm_msr", "kvm_cpuid"] as const;
/** Where kvm_exit does not tell the guest's instruction, this does, for a record of 60 bytes an exit. */
const INSTRUCTION_EVENT = "kvm_emulate_insn";

/** 4 MiB: a quarter of a second of 250,000 events a second, of 68 bytes each, when a busy host lets no drain happen; less where there are many threads. */
const RING_PAGES = 1024;
const LARGE_RINGS = 16;
/** Rings of all sources of this process. */
let openRings = 0;
/**
 * kvm-pvm emulates some million instructions a second of a guest's kernel. Where a drain finds so much of a ring full, a
 * thread's instructions are no longer traced: they would leave no room for its exits. Those of a machine with many threads,
 * which wait for each other, never are.
 */
const CROWDED = 1 / 2;
const FEW_THREADS = 4;
const CLOCK_MONOTONIC = 1;
const BATCH_EVENTS = 8192;

/** Which exits are captured; all when left out. */
export interface Capture {
  readonly event?: EventKind;
  /** Only exits that lasted at least so long, in nanoseconds. Where only exits to user space are seen, it does nothing. */
  readonly overNs?: number;
  /** The guest's instruction also where kvm_exit does not tell it. */
  readonly instructions?: boolean;
}

interface Thread {
  readonly tid: number;
  vcpu: number | null;
  readonly events: readonly PerfEvent[];
  readonly ring: PerfRing;
  readonly tally: ExitTally;
  /** The event of the guest's instructions, while they are traced. */
  instructions: PerfEvent | undefined;
}

export class TracepointSource implements ExitSource {
  readonly name: "kvm_exit" | "userspace";
  /** Rows by the guest's instruction are told. */
  readonly hasInstructions: boolean;
  readonly #formats: readonly TraceFormat[];
  readonly #decoder: EventDecoder;
  readonly #threads = new Map<number, Thread>();
  readonly #columns: EventColumns;
  readonly #bytes = new Uint8Array(RING_PAGES * 4096);
  readonly #view = new DataView(this.#bytes.buffer);
  /** Threads that are gone, with what they did since the last report. */
  #retired: Thread[] = [];
  readonly #rips = new RipBudget();
  #vcpus: readonly SourceRow[] = [];
  #ripRows: readonly SourceRow[] = [];
  #times: TracedTimes = { guestNs: 0, polledNs: 0, sleptNs: 0 };
  readonly #event: EventKind;
  readonly #overNs: number;
  readonly #detailEvent: number | undefined;
  #lost = 0;
  readonly #refused = new Set<number>();
  #refusal = "";
  #isFollowing = false;
  #isCrowded = false;
  #hasFewThreads = true;

  /** Throws KvmError when this process may not trace (EACCES), or Error when tracefs has no such events. */
  constructor(
    events: typeof HARDWARE_EVENTS | typeof USERSPACE_EVENTS,
    { event = "exit", overNs = 0, instructions = false }: Capture = {},
  ) {
    this.name = events === HARDWARE_EVENTS ? "kvm_exit" : "userspace";
    this.#event = event;
    this.#overNs = overNs;
    const detail = this.name === "kvm_exit" ? detailOf(event) : undefined;
    this.#detailEvent = detail?.event;
    const more = this.name === "kvm_exit" ? DETAIL_EVENTS : EMULATION_EVENTS;
    const names = [
      ...events,
      ...(event === "exit" ? more : []),
      ...(detail === undefined ? [] : [detail.tracepoint]),
      ...(this.name === "userspace" && event === "msr" ? EMULATION_EVENTS : []),
      ...(this.name === "userspace" && instructions ? [INSTRUCTION_EVENT] : []),
    ];
    this.hasInstructions = this.name === "kvm_exit" || instructions;
    this.#formats = names.flatMap((name) => kvmTraceFormat(name) ?? []);
    if (this.#formats.length === 0) throw new Error("tracefs does not show KVM's tracepoints");
    this.#decoder = new EventDecoder(this.#formats);
    this.#columns = new EventColumns(BATCH_EVENTS, { hasRip: true });
  }

  /** Traces exactly these threads from now on. A thread that is gone by now is passed over. */
  follow(threads: readonly FollowedThread[]): void {
    const wanted = new Set(threads.map(({ tid }) => tid));
    this.#hasFewThreads = wanted.size <= FEW_THREADS;
    for (const [tid, thread] of this.#threads) {
      if (wanted.has(tid)) continue;
      this.#drain(thread);
      closeThread(thread);
      this.#threads.delete(tid);
      this.#retired.push(thread);
    }
    for (const { tid, vcpu } of threads) {
      const known = this.#threads.get(tid);
      if (known !== undefined) known.vcpu ??= vcpu;
      else {
        if (this.#refused.has(tid)) continue;
        const thread = this.#tryOpen(tid, vcpu);
        if (thread !== undefined) this.#threads.set(tid, thread);
        this.#isFollowing ||= thread !== undefined;
      }
    }
  }

  /** Empties the rings; call it several times a second. */
  drain(): void {
    for (const thread of this.#threads.values()) this.#drain(thread);
  }

  collect(): SourceRow[] {
    this.drain();
    const threads = [...this.#threads.values(), ...this.#retired.splice(0)];
    this.#vcpus = threads.flatMap(({ vcpu, tally }) => (vcpu === null ? [] : tally.byReason(vcpu)));
    const nowNs = monotonicNs();
    this.#times = { guestNs: 0, polledNs: 0, sleptNs: 0 };
    for (const { tally } of threads) {
      const { guestNs, polledNs, sleptNs } = tally.takeTimes(nowNs);
      this.#times.guestNs += guestNs;
      this.#times.polledNs += polledNs;
      this.#times.sleptNs += sleptNs;
    }
    this.#ripRows = ExitTally.rips(threads.map(({ tally }) => tally));
    return ExitTally.rows(threads.map(({ tally }) => tally));
  }

  get vcpus(): readonly SourceRow[] {
    return this.#vcpus;
  }

  get rips(): readonly SourceRow[] {
    return this.#ripRows;
  }

  /** Where the vCPUs' time went since the last `collect` but one; undefined where kvm_exit does not tell, or not of all. */
  get times(): TracedTimes | undefined {
    return this.name === "kvm_exit" && this.#event === "exit" ? this.#times : undefined;
  }

  takeLost(): number {
    const lost = this.#lost;
    this.#lost = 0;
    return lost;
  }

  /** What is not seen, one line each. */
  get notes(): readonly string[] {
    const notes: string[] = [];
    if (this.#refused.size > 0) notes.push(`${this.#refused.size} threads are not traced: ${this.#refusal}`);
    if (this.#isCrowded) notes.push("not all instructions are told: there are too many");
    return notes;
  }

  close(): void {
    for (const thread of this.#threads.values()) closeThread(thread);
    this.#threads.clear();
  }

  /** The first thread tells whether tracing is possible at all; of others it is said how many could not be traced. */
  #tryOpen(tid: number, vcpu: number | null): Thread | undefined {
    try {
      return this.#open(tid, vcpu);
    } catch (error) {
      if (!this.#isFollowing) throw error;
      this.#refused.add(tid);
      this.#refusal = (error as Error).message;
      return undefined;
    }
  }

  #open(tid: number, vcpu: number | null): Thread | undefined {
    const events: PerfEvent[] = [];
    try {
      let instructions: PerfEvent | undefined;
      for (const { id, name } of this.#formats) {
        if (name === INSTRUCTION_EVENT && !this.#hasFewThreads) {
          this.#isCrowded = true;
          continue;
        }
        const event = PerfEvent.open(
          {
            type: PERF_TYPE_TRACEPOINT,
            config: id,
            samplePeriod: 1,
            sampleType: PERF_SAMPLE_TIME | PERF_SAMPLE_RAW,
            useClockid: true,
            clockid: CLOCK_MONOTONIC,
            disabled: true,
          },
          { pid: tid, cpu: -1 },
        );
        events.push(event);
        const filter = captureFilter(this.#event, name);
        if (filter !== undefined) event.setFilter(filter);
        if (name === INSTRUCTION_EVENT) instructions = event;
      }
      const ring = events[0]!.mapRing(ringPages(openRings, RING_PAGES, LARGE_RINGS));
      for (const event of events.slice(1)) event.setOutput(events[0]!);
      for (const event of events) event.enable();
      const tally = new ExitTally(
        undefined,
        this.name === "kvm_exit" ? { details: this.#rips } : { countsEmulation: true },
      );
      tally.overNs = this.#overNs;
      tally.detailEvent = this.#detailEvent;
      openRings++;
      return { tid, vcpu, events, ring, tally, instructions };
    } catch (error) {
      closeAll(events);
      if ((error as { errnoName?: string }).errnoName === "ESRCH") return undefined;
      throw error;
    }
  }

  #drain(thread: Thread): void {
    const { ring, tally, instructions } = thread;
    if (instructions !== undefined && ring.pendingBytes > ring.sizeBytes * CROWDED) {
      instructions.disable();
      thread.instructions = undefined;
      this.#isCrowded = true;
    }
    for (let length = ring.drain(this.#bytes); length > 0; length = ring.drain(this.#bytes)) {
      for (let at = 0; at < length; ) {
        this.#columns.length = 0;
        const { next, lost } = this.#decoder.decode(this.#view, at, length, this.#columns);
        tally.consume(this.#columns);
        this.#lost += lost;
        at = next === at ? length : next;
      }
    }
  }
}

function closeThread({ events }: Thread): void {
  openRings--;
  closeAll(events);
}

function closeAll(events: readonly PerfEvent[]): void {
  for (const event of events) event.close();
}
