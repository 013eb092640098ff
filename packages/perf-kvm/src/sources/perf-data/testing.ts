/** What the tests of recordings share: small recordings made with the writer, and perf itself where it can run. */
import { spawnSync } from "node:child_process";
import {
  PERF_COUNT_SW_CPU_CLOCK,
  PERF_RECORD_SAMPLE,
  PERF_SAMPLE_CPU,
  PERF_SAMPLE_IDENTIFIER,
  PERF_SAMPLE_IP,
  PERF_SAMPLE_PERIOD,
  PERF_SAMPLE_RAW,
  PERF_SAMPLE_TID,
  PERF_SAMPLE_TIME,
  PERF_TYPE_SOFTWARE,
  PERF_TYPE_TRACEPOINT,
} from "@tools-kvm/kvm-binding";
import type { EVENT_NAMES } from "../../columns/events.js";
import { type EventName, FIRST_ID, formatText, rawOf } from "../../testing.js";
import { ScriptPrinter } from "../../views/script.js";
import { PerfDataReader, type ReaderOptions } from "./reader.js";
import { PerfDataWriter, type RecordingInfo, type WrittenEvent } from "./writer.js";

export const SAMPLE_TYPE =
  PERF_SAMPLE_IDENTIFIER |
  PERF_SAMPLE_IP |
  PERF_SAMPLE_TID |
  PERF_SAMPLE_TIME |
  PERF_SAMPLE_CPU |
  PERF_SAMPLE_PERIOD |
  PERF_SAMPLE_RAW;
/** struct sample_id with these: pid and tid, time, cpu, identifier. */
export const SAMPLE_ID_BYTES = 32;

export interface Happening {
  readonly event: EventName;
  readonly ns: number;
  readonly pid?: number;
  readonly tid: number;
  readonly cpu?: number;
  readonly values?: Record<string, number | bigint>;
}

/** Entries and exits of two vCPUs by turns, one in three by CPUID, the others by a write to the first serial port. */
export function twoVcpus(exits: number): Happening[] {
  return Array.from({ length: exits }, (_, i): Happening[] => {
    const tid = 1000 + (i % 2);
    const values = { exit_reason: i % 3 === 0 ? 0x72 : 0x7b, isa: 2, info1: 0x3f8_0000, vcpu_id: i % 2 };
    return [
      { event: "kvm_entry", ns: 1e9 + i * 10_000, tid, values: { vcpu_id: i % 2 } },
      { event: "kvm_exit", ns: 1e9 + i * 10_000 + 500, tid, cpu: 1, values },
    ];
  }).flat();
}

/** A finished round stands between the events. */
export const ROUND = "round";

const EVENTS = [
  "kvm_exit",
  "kvm_entry",
  "kvm_userspace_exit",
  "kvm_pio",
] as const satisfies readonly (typeof EVENT_NAMES)[number][];

export function info(): RecordingInfo {
  return {
    hostname: "host",
    osRelease: "6.1.0",
    version: "6.1",
    arch: "x86_64",
    cpus: { available: 4, online: 4 },
    cpuDescription: "AMD EPYC",
    cpuid: "AuthenticAMD,25,17,1",
    commandLine: ["perf-kvm", "record"],
    tracing: {
      formats: EVENTS.map((name, index) => ({ system: "kvm", name, text: formatText(name, FIRST_ID + index) })),
    },
  };
}

/** Writes a recording of these events, in this order. */
export function write(path: string, happenings: readonly (Happening | typeof ROUND)[]): void {
  const events: WrittenEvent[] = EVENTS.map((name, index) => ({
    name: `kvm:${name}`,
    attr: {
      type: PERF_TYPE_TRACEPOINT,
      config: FIRST_ID + index,
      samplePeriod: 1,
      sampleType: SAMPLE_TYPE,
      sampleIdAll: true,
    },
    ids: [40 + index],
  }));
  const writer = new PerfDataWriter(path, events);
  writer.comm(1000, 1000, "vmm", SAMPLE_ID_BYTES);
  for (const happening of happenings) {
    if (happening === ROUND) writer.finishedRound();
    else writer.records(sample(happening));
  }
  writer.close(info());
}

function sample({ event, ns, pid = 1000, tid, cpu = 0, values = {} }: Happening): Uint8Array {
  const raw = rawOf(event, values);
  const record = new DataView(new ArrayBuffer(8 + 6 * 8 + 4 + raw.length + 4));
  const index = EVENTS.indexOf(event as (typeof EVENTS)[number]);
  record.setUint32(0, PERF_RECORD_SAMPLE, true);
  record.setUint16(6, record.byteLength, true);
  record.setUint32(8, 40 + index, true);
  record.setBigUint64(16, 0xffff_ffff_8100_0000n, true);
  record.setUint32(24, pid, true);
  record.setUint32(28, tid, true);
  record.setBigUint64(32, BigInt(ns), true);
  record.setUint32(40, cpu, true);
  record.setUint32(48, 1, true);
  record.setUint32(56, raw.length + 4, true);
  const bytes = new Uint8Array(record.buffer);
  bytes.set(raw, 60);
  return bytes;
}

/** PERF_RECORD_MISC_*: where a sample was taken. */
export const MISC = { hostKernel: 1, hostUser: 2, guestKernel: 4, guestUser: 5 } as const;

export interface WrittenSample {
  readonly misc: number;
  readonly ip: bigint;
  readonly pid?: number;
}

/** Writes a recording of cpu-clock alone, a sample a nanosecond. Each process has one thread. */
export function writeSamples(path: string, samples: readonly WrittenSample[]): void {
  const attr = {
    ...{ type: PERF_TYPE_SOFTWARE, config: PERF_COUNT_SW_CPU_CLOCK, samplePeriod: 999, freq: true, sampleIdAll: true },
    sampleType: PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME,
  };
  const writer = new PerfDataWriter(path, [{ name: "cpu-clock", attr, ids: [1] }]);
  samples.forEach(({ misc, ip, pid = 7 }, index) => {
    const record = new DataView(new ArrayBuffer(32));
    record.setUint32(0, PERF_RECORD_SAMPLE, true);
    record.setUint16(4, misc, true);
    record.setUint16(6, 32, true);
    record.setBigUint64(8, ip, true);
    record.setUint32(16, pid, true);
    record.setUint32(20, pid, true);
    record.setBigUint64(24, BigInt(1000 + index), true);
    writer.records(new Uint8Array(record.buffer));
  });
  writer.close(info());
}

/** A recording as `perf-kvm script` prints it. */
export function scriptOf(path: string, options?: ReaderOptions): string {
  const reader = PerfDataReader.open(path, options);
  try {
    let text = "";
    new ScriptPrinter(reader, (bytes) => {
      text += Buffer.from(bytes).toString("latin1");
    }).run();
    return text;
  } finally {
    reader.close();
  }
}

/** Runs perf; its standard output, or undefined when it failed. */
export function perf(...args: string[]): string | undefined {
  const { status, stdout } = spawnSync("perf", args, {
    encoding: "latin1",
    maxBuffer: 2 ** 28,
    stdio: ["ignore", "pipe", "ignore"],
  });
  return status === 0 ? stdout : undefined;
}

export const hasPerf = perf("--version") !== undefined;
export const NEEDS_PERF = hasPerf ? "" : " (needs perf: apt-get install linux-perf)";
/** System-wide tracepoints, which need root or CAP_PERFMON. */
export const canRecord =
  hasPerf && perf("record", "-q", "-o", "/dev/null", "-e", "sched:sched_switch", "-a", "true") !== undefined;
export const NEEDS_RECORD = canRecord ? "" : " (needs perf and the right to record the whole host)";
