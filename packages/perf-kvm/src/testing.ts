/** What the tests of the profiler share: KVM's trace formats as Linux 6.1 prints them, and records as a ring has them. */
import { EVENT_NAMES } from "./columns/events.js";
import { parseTraceFormat, type TraceFormat } from "./sources/trace-format.js";

type Field = readonly [type: string, name: string, offset: number, sizeBytes: number];

const COMMON: readonly Field[] = [
  ["unsigned short", "common_type", 0, 2],
  ["unsigned char", "common_flags", 2, 1],
  ["unsigned char", "common_preempt_count", 3, 1],
  ["int", "common_pid", 4, 4],
];

/** Fields of each event, and how long its record is. */
const EVENTS: Record<(typeof EVENT_NAMES)[number], { readonly fields: readonly Field[]; readonly sizeBytes: number }> =
  {
    kvm_exit: {
      fields: [
        ["unsigned int", "exit_reason", 8, 4],
        ["unsigned long", "guest_rip", 16, 8],
        ["u32", "isa", 24, 4],
        ["u64", "info1", 32, 8],
        ["u64", "info2", 40, 8],
      ],
      sizeBytes: 64,
    },
    kvm_entry: { fields: [["unsigned int", "vcpu_id", 8, 4]], sizeBytes: 32 },
    kvm_userspace_exit: {
      fields: [
        ["__u32", "reason", 8, 4],
        ["int", "errno", 12, 4],
      ],
      sizeBytes: 16,
    },
    kvm_pio: {
      fields: [
        ["unsigned int", "rw", 8, 4],
        ["unsigned int", "port", 12, 4],
        ["unsigned int", "size", 16, 4],
      ],
      sizeBytes: 32,
    },
    kvm_mmio: {
      fields: [
        ["u32", "type", 8, 4],
        ["u32", "len", 12, 4],
        ["u64", "gpa", 16, 8],
      ],
      sizeBytes: 32,
    },
    kvm_msr: {
      fields: [
        ["unsigned", "write", 8, 4],
        ["u32", "ecx", 12, 4],
        ["u64", "data", 16, 8],
      ],
      sizeBytes: 32,
    },
    kvm_cpuid: {
      fields: [
        ["unsigned int", "function", 8, 4],
        ["unsigned int", "index", 12, 4],
      ],
      sizeBytes: 56,
    },
    kvm_page_fault: {
      fields: [
        ["unsigned int", "vcpu_id", 8, 4],
        ["unsigned long", "guest_rip", 16, 8],
        ["u64", "fault_address", 24, 8],
        ["u64", "error_code", 32, 8],
      ],
      sizeBytes: 40,
    },
    kvm_emulate_insn: {
      fields: [
        ["__u64", "rip", 8, 8],
        ["__u32", "csbase", 16, 4],
      ],
      sizeBytes: 40,
    },
    kvm_vcpu_wakeup: {
      fields: [
        ["__u64", "ns", 8, 8],
        ["bool", "waited", 16, 1],
        ["bool", "valid", 17, 1],
      ],
      sizeBytes: 24,
    },
  };

export type EventName = keyof typeof EVENTS;

/** The text of events/kvm/NAME/format. */
export function formatText(name: EventName, id: number): string {
  const line = ([type, field, offset, sizeBytes]: Field): string =>
    `\tfield:${type} ${field};\toffset:${offset};\tsize:${sizeBytes};\tsigned:0;`;
  const fields = EVENTS[name].fields.map(line);
  return [`name: ${name}`, `ID: ${id}`, "format:", ...COMMON.map(line), "", ...fields, "", 'print fmt: ""', ""].join(
    "\n",
  );
}

export const FIRST_ID = 100;

export const FORMATS: readonly TraceFormat[] = EVENT_NAMES.map((name, index) =>
  parseTraceFormat(formatText(name, FIRST_ID + index)),
);

/** The raw data of one event. */
export function rawOf(name: EventName, values: Record<string, number | bigint> = {}): Uint8Array {
  const { fields, sizeBytes } = EVENTS[name];
  const raw = new DataView(new ArrayBuffer(sizeBytes));
  raw.setUint16(0, FIRST_ID + EVENT_NAMES.indexOf(name), true);
  for (const [, field, offset, bytes] of fields) {
    if (bytes === 8) raw.setBigUint64(offset, BigInt(values[field] ?? 0), true);
    else if (bytes === 1) raw.setUint8(offset, Number(values[field] ?? 0));
    else raw.setUint32(offset, Number(values[field] ?? 0), true);
  }
  return new Uint8Array(raw.buffer);
}

/** Records of a ring, one after the other (include/uapi/linux/perf_event.h, PERF_RECORD_SAMPLE with TIME and RAW). */
export class Records {
  readonly #bytes: number[] = [];

  sample(name: EventName, timeNs: number, values: Record<string, number | bigint> = {}): this {
    const raw = rawOf(name, values);
    const sizeBytes = raw.length;
    // The size of the raw data is such that the whole record is a multiple of 8 bytes.
    const padding = 4;
    const record = new DataView(new ArrayBuffer(16 + 4 + sizeBytes + padding));
    this.#head(record, 9);
    record.setBigUint64(8, BigInt(timeNs), true);
    record.setUint32(16, sizeBytes + padding, true);
    new Uint8Array(record.buffer).set(raw, 20);
    return this.#append(record);
  }

  lost(count: number): this {
    const record = new DataView(new ArrayBuffer(24));
    this.#head(record, 2);
    record.setBigUint64(16, BigInt(count), true);
    return this.#append(record);
  }

  bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  view(): DataView {
    return new DataView(this.bytes().buffer);
  }

  #head(record: DataView, type: number): void {
    record.setUint32(0, type, true);
    record.setUint16(6, record.byteLength, true);
  }

  #append(record: DataView): this {
    this.#bytes.push(...new Uint8Array(record.buffer));
    return this;
  }
}
