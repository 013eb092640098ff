/** Records KVM's tracepoints on the vCPU threads of machines, and samples of them, into a file, for `perf-kvm report` and for perf itself. */
import { readdirSync, readFileSync } from "node:fs";
import { arch, cpus, hostname, release } from "node:os";
import {
  PERF_SAMPLE_CPU,
  PERF_SAMPLE_IDENTIFIER,
  PERF_SAMPLE_IP,
  PERF_SAMPLE_PERIOD,
  PERF_SAMPLE_RAW,
  PERF_SAMPLE_TID,
  PERF_SAMPLE_TIME,
  PERF_TYPE_TRACEPOINT,
  type PerfAttr,
  PerfEvent,
  type PerfRing,
} from "@tools-kvm/kvm-binding";
import { mappingsOf } from "./mappings.js";
import { PerfDataWriter, type RecordingInfo } from "./perf-data/writer.js";
import { ringPages } from "./ring-size.js";
import type { SampleEvent } from "./sample-events.js";
import { parseTraceFormat, tracefs } from "./trace-format.js";
import type { HARDWARE_EVENTS, USERSPACE_EVENTS } from "./tracepoints.js";

/** What perf itself puts into the samples of a tracepoint: its commands expect that. */
const SAMPLE_TYPE =
  PERF_SAMPLE_IDENTIFIER |
  PERF_SAMPLE_IP |
  PERF_SAMPLE_TID |
  PERF_SAMPLE_TIME |
  PERF_SAMPLE_CPU |
  PERF_SAMPLE_PERIOD |
  PERF_SAMPLE_RAW;
/** struct sample_id of that: pid and tid, time, cpu, identifier. */
const SAMPLE_ID_BYTES = 32;
/** 4 MiB a thread; less where there are many. */
const RING_PAGES = 1024;
const MANY_THREADS = 32;
const CLOCK_MONOTONIC = 1;

interface Opened {
  readonly events: readonly PerfEvent[];
  readonly ring: PerfRing;
}

export class Recorder {
  readonly #writer: PerfDataWriter;
  readonly #opened: Opened[] = [];
  readonly #bytes = new Uint8Array(RING_PAGES * 4096);
  readonly #formats: { system: string; name: string; text: string }[];
  readonly #commandLine: readonly string[];
  /** Bytes of records so far. */
  recordedBytes = 0;

  /**
   * Opens the tracepoints of these threads and begins the file; nothing is recorded before `enable`.
   * @throws KvmError EACCES when this process may not trace; the system's error when the file cannot be written
   */
  constructor(
    path: string,
    threads: readonly { readonly pid: number; readonly tids: readonly number[] }[],
    events: typeof HARDWARE_EVENTS | typeof USERSPACE_EVENTS | readonly [],
    commandLine: readonly string[],
    sampled: readonly SampleEvent[] = [],
  ) {
    this.#commandLine = commandLine;
    const mount = tracefs();
    if (mount === undefined && events.length > 0) throw new Error("tracefs does not show KVM's tracepoints");
    this.#formats = events.map((name) => {
      const text = readFileSync(`${mount}/events/kvm/${name}/format`, "latin1");
      return { system: "kvm", name, text };
    });
    const recorded = [
      ...this.#formats.map(({ name, text }) => ({ name: `kvm:${name}`, attr: attrOf(parseTraceFormat(text).id) })),
      ...sampled.map((event) => ({ name: event.name, attr: sampleAttrOf(event) })),
    ];
    const attrs = recorded.map(({ attr }) => attr);
    try {
      for (const { tids } of threads) for (const tid of tids) this.#open(tid, attrs);
      if (this.#opened.length === 0) throw new Error("the machine has no thread any more");
      const written = recorded.map(({ name, attr }, index) => ({
        ...{ name, attr },
        ids: this.#opened.map(({ events: opened }) => opened[index]!.id),
      }));
      this.#writer = new PerfDataWriter(path, written);
    } catch (error) {
      this.#closeEvents();
      throw error;
    }
    for (const { pid } of threads) this.#describe(pid);
  }

  enable(): void {
    for (const { events } of this.#opened) for (const event of events) event.enable();
  }

  /** Empties the rings into the file; call it several times a second. Throws the system's error (ENOSPC). */
  drain(): void {
    for (const { ring } of this.#opened) {
      for (let length = ring.drain(this.#bytes); length > 0; length = ring.drain(this.#bytes)) {
        this.#writer.records(this.#bytes.subarray(0, length));
        this.recordedBytes += length;
      }
    }
    this.#writer.finishedRound();
  }

  /** Takes what is left, and closes the file. */
  finish(): void {
    for (const { events } of this.#opened) for (const event of events) event.disable();
    this.drain();
    this.#closeEvents();
    this.#writer.close(recordingInfo(this.#formats, this.#commandLine));
  }

  #open(tid: number, attrs: readonly PerfAttr[]): void {
    const events: PerfEvent[] = [];
    try {
      for (const attr of attrs) events.push(PerfEvent.open(attr, { pid: tid, cpu: -1 }));
      const ring = events[0]!.mapRing(ringPages(this.#opened.length, RING_PAGES, MANY_THREADS));
      for (const event of events.slice(1)) event.setOutput(events[0]!);
      this.#opened.push({ events, ring });
    } catch (error) {
      for (const event of events) event.close();
      if ((error as { errnoName?: string }).errnoName !== "ESRCH") throw error;
    }
  }

  /** The names of the process's threads and its code, which no record will tell: they were there before. */
  #describe(pid: number): void {
    for (const tid of threadsOf(pid)) this.#writer.comm(pid, tid, nameOf(pid, tid), SAMPLE_ID_BYTES);
    for (const mapping of mappingsOf(pid)) this.#writer.mmap(pid, mapping, SAMPLE_ID_BYTES);
  }

  #closeEvents(): void {
    for (const { events } of this.#opened) for (const event of events) event.close();
  }
}

function attrOf(config: number): PerfAttr {
  return {
    type: PERF_TYPE_TRACEPOINT,
    config,
    samplePeriod: 1,
    sampleType: SAMPLE_TYPE,
    sampleIdAll: true,
    useClockid: true,
    clockid: CLOCK_MONOTONIC,
    disabled: true,
  };
}

/** With the layout of the tracepoints, so that all samples of a file look alike. */
function sampleAttrOf({ type, config, frequencyHz }: SampleEvent): PerfAttr {
  return { ...attrOf(config), type, samplePeriod: frequencyHz, freq: true };
}

function threadsOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    return [];
  }
}

function nameOf(pid: number, tid: number): string {
  try {
    return readFileSync(`/proc/${pid}/task/${tid}/comm`, "latin1").trimEnd();
  } catch {
    return `:${tid}`;
  }
}

function recordingInfo(formats: RecordingInfo["tracing"]["formats"], commandLine: readonly string[]): RecordingInfo {
  const { length } = cpus();
  const cpuinfo = readFileSync("/proc/cpuinfo", "latin1");
  const field = (name: string): string => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(cpuinfo)?.[1] ?? "";
  return {
    hostname: hostname(),
    osRelease: release(),
    version: __VERSION__,
    arch: arch() === "x64" ? "x86_64" : arch(),
    cpus: { available: length, online: length },
    cpuDescription: field("model name"),
    cpuid: [field("vendor_id"), field("cpu family"), field("model"), field("stepping")].join(","),
    commandLine,
    tracing: { formats, headerPage: tracefsText("header_page"), headerEvent: tracefsText("header_event") },
  };
}

function tracefsText(name: string): string | undefined {
  try {
    return readFileSync(`${tracefs()}/events/${name}`, "latin1");
  } catch {
    return undefined;
  }
}
