/** A recording of exits as large as one likes, for benches: what perf has written of a busy machine, without one. */
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
} from "@tools-kvm/kvm-binding";
import { PerfDataWriter } from "@tools-kvm/perf-kvm";

const SVM = 2;
/** How often each reason comes, of 16: IOIO, MSR, HLT, NPF, CPUID. */
const REASONS = [0x7b, 0x7b, 0x7b, 0x7b, 0x7b, 0x7c, 0x7c, 0x7c, 0x78, 0x78, 0x400, 0x400, 0x400, 0x72, 0x72, 0x60];
const EXIT_ID = 103;
const ENTRY_ID = 102;
const PID = 1000;
const CPUS = 4;
/** A ring of perf's holds about so many of these. */
const PAIRS_A_ROUND = 2000;

type Field = readonly [type: string, name: string, offset: number, sizeBytes: number];
const COMMON: readonly Field[] = [
  ["unsigned short", "common_type", 0, 2],
  ["unsigned char", "common_flags", 2, 1],
  ["unsigned char", "common_preempt_count", 3, 1],
  ["int", "common_pid", 4, 4],
];
const EXIT_FIELDS: readonly Field[] = [
  ["unsigned int", "exit_reason", 8, 4],
  ["unsigned long", "guest_rip", 16, 8],
  ["u32", "isa", 24, 4],
  ["u64", "info1", 32, 8],
  ["u64", "info2", 40, 8],
  ["u32", "intr_info", 48, 4],
  ["u32", "error_code", 52, 4],
  ["unsigned int", "vcpu_id", 56, 4],
];
const ENTRY_FIELDS: readonly Field[] = [
  ["unsigned int", "vcpu_id", 8, 4],
  ["unsigned long", "rip", 16, 8],
];
const EXIT_PRINT =
  '"vcpu %u reason %u rip 0x%lx info1 0x%016llx info2 0x%016llx intr_info 0x%08x error_code 0x%08x", REC->vcpu_id, ' +
  "REC->exit_reason, REC->guest_rip, REC->info1, REC->info2, REC->intr_info, REC->error_code";
const ENTRY_PRINT = '"vcpu %u, rip 0x%lx", REC->vcpu_id, REC->rip';

function format(name: string, id: number, fields: readonly Field[], print: string): string {
  const line = ([type, field, offset, sizeBytes]: Field): string =>
    `\tfield:${type} ${field};\toffset:${offset};\tsize:${sizeBytes};\tsigned:${type === "int" ? 1 : 0};`;
  const lines = [`name: ${name}`, `ID: ${id}`, "format:", ...COMMON.map(line), "", ...fields.map(line), ""];
  return `${lines.join("\n")}\nprint fmt: ${print}\n`;
}

/** perf_event.h: header, identifier, ip, pid and tid, time, cpu, period, size of the raw data. */
const RAW_OFFSET = 8 + 6 * 8 + 4;
const sizeOf = (rawBytes: number): number => RAW_OFFSET + rawBytes;
const EXIT_RAW_BYTES = 68;
const ENTRY_RAW_BYTES = 28;

/** Writes `pairs` exits, each with its entry before, of four vCPUs that run all the time. */
export function exitRecording(path: string, pairs: number): void {
  const attr = (config: number): PerfAttr => ({
    type: PERF_TYPE_TRACEPOINT,
    config,
    samplePeriod: 1,
    sampleType:
      PERF_SAMPLE_IDENTIFIER |
      PERF_SAMPLE_IP |
      PERF_SAMPLE_TID |
      PERF_SAMPLE_TIME |
      PERF_SAMPLE_CPU |
      PERF_SAMPLE_PERIOD |
      PERF_SAMPLE_RAW,
    sampleIdAll: true,
  });
  const ids = (first: number): number[] => Array.from({ length: CPUS }, (_, cpu) => first + cpu);
  const writer = new PerfDataWriter(path, [
    { name: "kvm:kvm_entry", attr: attr(ENTRY_ID), ids: ids(1) },
    { name: "kvm:kvm_exit", attr: attr(EXIT_ID), ids: ids(1 + CPUS) },
  ]);
  // sample_id at the end of other records: pid and tid, time, cpu, identifier.
  for (let vcpu = 0; vcpu < CPUS; vcpu++) writer.comm(PID, PID + vcpu, "vmm", 32);
  writePairs(writer, pairs);
  writer.close({
    hostname: "bench",
    osRelease: "6.1.0",
    version: "6.1",
    arch: "x86_64",
    cpus: { available: CPUS, online: CPUS },
    cpuDescription: "AMD EPYC",
    cpuid: "AuthenticAMD,25,17,1",
    commandLine: ["perf-kvm", "record"],
    tracing: {
      formats: [
        { system: "kvm", name: "kvm_entry", text: format("kvm_entry", ENTRY_ID, ENTRY_FIELDS, ENTRY_PRINT) },
        { system: "kvm", name: "kvm_exit", text: format("kvm_exit", EXIT_ID, EXIT_FIELDS, EXIT_PRINT) },
      ],
    },
  });
}

/** Rounds as perf drains rings: each CPU's records together, one CPU after the other. */
function writePairs(writer: PerfDataWriter, pairs: number): void {
  const sample = new Sample();
  let random = 1;
  for (let done = 0; done < pairs; ) {
    const round = Math.min(PAIRS_A_ROUND * CPUS, pairs - done);
    for (let cpu = 0; cpu < CPUS; cpu++) {
      for (let pair = cpu; pair < round; pair += CPUS) {
        random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0;
        const ns = 1e12 + (done + pair) * 2000 + cpu;
        const reason = REASONS[(random >>> 16) & 15]!;
        writer.records(sample.entry(cpu, ns));
        writer.records(sample.exit(cpu, ns + 300 + ((random >>> 8) & 0xff), reason, random));
      }
    }
    writer.finishedRound();
    done += round;
  }
}

/** One sample at a time, in bytes that are used again. */
class Sample {
  readonly #exit = new DataView(new ArrayBuffer(sizeOf(EXIT_RAW_BYTES)));
  readonly #entry = new DataView(new ArrayBuffer(sizeOf(ENTRY_RAW_BYTES)));

  entry(cpu: number, ns: number): Uint8Array {
    const view = this.#entry;
    head(view, 1 + cpu, cpu, ns, ENTRY_RAW_BYTES, ENTRY_ID);
    view.setUint32(RAW_OFFSET + 8, cpu, true);
    view.setUint32(RAW_OFFSET + 16, 0x10_345a, true);
    return new Uint8Array(view.buffer);
  }

  exit(cpu: number, ns: number, reason: number, random: number): Uint8Array {
    const view = this.#exit;
    head(view, 1 + CPUS + cpu, cpu, ns, EXIT_RAW_BYTES, EXIT_ID);
    const u32 = (offset: number, value: number): void => view.setUint32(RAW_OFFSET + offset, value, true);
    u32(8, reason);
    u32(16, 0x10_0000 + (random & 0xffff));
    u32(24, SVM);
    u32(32, reason === 0x7b ? (0x3f8 + ((random >>> 20) & 7)) * 2 ** 16 + ((random >>> 24) & 1) : random & 1);
    u32(40, random);
    u32(56, cpu);
    return new Uint8Array(view.buffer);
  }
}

function head(view: DataView, id: number, cpu: number, ns: number, rawBytes: number, type: number): void {
  const low = ns % 2 ** 32;
  view.setUint32(0, 9, true); // PERF_RECORD_SAMPLE
  view.setUint16(4, 1, true); // PERF_RECORD_MISC_KERNEL
  view.setUint16(6, view.byteLength, true);
  view.setUint32(8, id, true);
  view.setUint32(24, PID, true);
  view.setUint32(28, PID + cpu, true);
  view.setUint32(32, low, true);
  view.setUint32(36, (ns - low) / 2 ** 32, true);
  view.setUint32(40, cpu, true);
  view.setUint32(48, 1, true); // period
  view.setUint32(56, rawBytes, true);
  view.setUint16(RAW_OFFSET, type, true);
  view.setUint32(RAW_OFFSET + 4, PID + cpu, true);
}
