/**
 * KVM's trace events as columns: one typed array a field, filled by one pass over the records of a perf ring. There is
 * no object and no BigInt an event.
 */
import type { TraceFormat } from "../sources/trace-format.js";

/** The tracepoints that are understood (include/trace/events/kvm.h, arch/x86/kvm/trace.h). */
export const EVENT = {
  EXIT: 0,
  ENTRY: 1,
  USERSPACE_EXIT: 2,
  PIO: 3,
  MMIO: 4,
  MSR: 5,
  CPUID: 6,
  PAGE_FAULT: 7,
  WAKEUP: 8,
  EMULATE: 9,
} as const;

export const EVENT_NAMES = [
  "kvm_exit",
  "kvm_entry",
  "kvm_userspace_exit",
  "kvm_pio",
  "kvm_mmio",
  "kvm_msr",
  "kvm_cpuid",
  "kvm_page_fault",
  "kvm_vcpu_wakeup",
  "kvm_emulate_insn",
] as const;

/** perf_event.h: record types, and what our events put into a sample (PERF_SAMPLE_TIME | PERF_SAMPLE_RAW). */
const RECORD_LOST = 2;
const RECORD_SAMPLE = 9;
const HEADER_BYTES = 8;
const TIME_OFFSET = 8;
const RAW_SIZE_OFFSET = 16;
const RAW_OFFSET = 20;
const LOST_COUNT_OFFSET = 16;

/** A batch of decoded events, in the order of their ring. */
export class EventColumns {
  readonly capacity: number;
  length = 0;
  /** One of EVENT. */
  readonly kind: Uint8Array;
  /** Nanoseconds of the kernel's clock. */
  readonly timeNs: Float64Array;
  /** Exit reason of EXIT and USERSPACE_EXIT. */
  readonly reason: Uint32Array;
  /** Instruction set of EXIT (1 VMX, 2 SVM); direction of PIO and MSR (1 write); type of MMIO; 1 of a WAKEUP after sleep. */
  readonly variant: Uint8Array;
  /** Exit information of EXIT; port, address, MSR or leaf of the others; how long a WAKEUP took to come, in ns. */
  readonly detail: Float64Array;
  /** The guest's instruction pointer of EXIT and EMULATE, as a signed number; only where it was asked for. */
  readonly rip: Float64Array | undefined;

  constructor(capacity: number, { hasRip = false } = {}) {
    this.capacity = capacity;
    this.kind = new Uint8Array(capacity);
    this.timeNs = new Float64Array(capacity);
    this.reason = new Uint32Array(capacity);
    this.variant = new Uint8Array(capacity);
    this.detail = new Float64Array(capacity);
    this.rip = hasRip ? new Float64Array(capacity) : undefined;
  }
}

/** Drops the first `count` events of a batch without instruction pointers. */
export function dropEvents(columns: EventColumns, count: number): void {
  const { kind, timeNs, reason, variant, detail, length } = columns;
  for (const column of [kind, timeNs, reason, variant, detail]) column.copyWithin(0, count, length);
  columns.length = length - count;
}

/** The same events, without instruction pointers, with room for `capacity`, those of `order` (indices) alone and in that order when it is given. */
export function copyEvents(from: EventColumns, capacity: number, order?: Int32Array): EventColumns {
  const to = new EventColumns(capacity);
  to.length = from.length;
  for (const name of ["kind", "timeNs", "reason", "variant", "detail"] as const) {
    if (order === undefined) to[name].set(from[name].subarray(0, from.length));
    else for (let i = 0; i < from.length; i++) to[name][i] = from[name][order[i]!]!;
  }
  return to;
}

/** Where an event's fields are; an absent field is read at -1, which gives 0. */
interface Layout {
  readonly kind: number;
  readonly sizeBytes: number;
  readonly reason: number;
  readonly variant: number;
  readonly detail: number;
  readonly detailBytes: number;
  readonly rip: number;
}

const FIELDS: Record<number, { reason?: string; variant?: string; detail?: string; rip?: string }> = {
  [EVENT.EXIT]: { reason: "exit_reason", variant: "isa", detail: "info1", rip: "guest_rip" },
  [EVENT.ENTRY]: {},
  [EVENT.USERSPACE_EXIT]: { reason: "reason" },
  [EVENT.PIO]: { variant: "rw", detail: "port" },
  [EVENT.MMIO]: { variant: "type", detail: "gpa" },
  [EVENT.MSR]: { variant: "write", detail: "ecx" },
  [EVENT.CPUID]: { detail: "function" },
  [EVENT.PAGE_FAULT]: { detail: "fault_address" },
  [EVENT.WAKEUP]: { variant: "waited", detail: "ns" },
  [EVENT.EMULATE]: { rip: "rip" },
};

/** Decodes what a ring gave. A record that is not one of ours, or is cut, is passed over; nothing throws. */
export class EventDecoder {
  readonly #layouts: (Layout | undefined)[] = [];

  constructor(formats: Iterable<TraceFormat>) {
    for (const format of formats) {
      const kind = (EVENT_NAMES as readonly string[]).indexOf(format.name);
      if (kind === -1) continue;
      const { reason, variant, detail, rip } = FIELDS[kind]!;
      const offset = (name: string | undefined) => (name === undefined ? -1 : (format.fields.get(name)?.offset ?? -1));
      const detailBytes = detail !== undefined && format.fields.get(detail)?.sizeBytes === 8 ? 8 : 4;
      const layout = {
        reason: offset(reason),
        variant: offset(variant),
        detail: offset(detail),
        detailBytes,
        rip: offset(rip),
      };
      // As far as `#sample` reads: the record's type is a u16, a reason a u32, a variant a byte.
      const sizeBytes = Math.max(2, layout.reason + 4, layout.variant + 1, layout.detail + detailBytes, layout.rip + 8);
      this.#layouts[format.id] = { kind, sizeBytes, ...layout };
    }
  }

  /**
   * Appends the events of `length` bytes of whole records to `columns`, from `from` on.
   * @returns where it stopped (less than `length` when the columns are full), and how many records the kernel lost
   */
  decode(bytes: DataView, from: number, length: number, columns: EventColumns): { next: number; lost: number } {
    let at = from;
    let lost = 0;
    while (at + HEADER_BYTES <= length && columns.length < columns.capacity) {
      const type = bytes.getUint32(at, true);
      const sizeBytes = bytes.getUint16(at + 6, true);
      if (sizeBytes < HEADER_BYTES || at + sizeBytes > length) return { next: length, lost };
      if (type === RECORD_SAMPLE && sizeBytes > RAW_OFFSET) this.#sample(bytes, at, sizeBytes, columns);
      else if (type === RECORD_LOST && sizeBytes >= LOST_COUNT_OFFSET + 8) lost += u64(bytes, at + LOST_COUNT_OFFSET);
      at += sizeBytes;
    }
    return { next: at, lost };
  }

  #sample(bytes: DataView, at: number, sizeBytes: number, columns: EventColumns): void {
    const rawBytes = bytes.getUint32(at + RAW_SIZE_OFFSET, true);
    if (RAW_OFFSET + rawBytes > sizeBytes) return;
    this.append(bytes, at + RAW_OFFSET, rawBytes, u64(bytes, at + TIME_OFFSET), columns);
  }

  /** What the raw data of an event are: one of EVENT, or -1 for none of them. */
  kindOf(bytes: DataView, raw: number, rawBytes: number): number {
    return rawBytes < 2 ? -1 : (this.#layouts[bytes.getUint16(raw, true)]?.kind ?? -1);
  }

  /** Appends one event to `columns`, which have room, from its raw data; nothing when it is not one of ours, or is cut. */
  append(bytes: DataView, raw: number, rawBytes: number, timeNs: number, columns: EventColumns): void {
    if (rawBytes < 2) return;
    const layout = this.#layouts[bytes.getUint16(raw, true)];
    if (layout === undefined || rawBytes < layout.sizeBytes) return;
    const index = columns.length++;
    columns.kind[index] = layout.kind;
    columns.timeNs[index] = timeNs;
    columns.reason[index] = layout.reason < 0 ? 0 : bytes.getUint32(raw + layout.reason, true);
    columns.variant[index] = layout.variant < 0 ? 0 : bytes.getUint8(raw + layout.variant);
    const detail = raw + layout.detail;
    columns.detail[index] =
      layout.detail < 0 ? 0 : layout.detailBytes === 8 ? u64(bytes, detail) : bytes.getUint32(detail, true);
    if (columns.rip !== undefined) columns.rip[index] = layout.rip < 0 ? 0 : i64(bytes, raw + layout.rip);
  }
}

function u64(bytes: DataView, offset: number): number {
  return bytes.getUint32(offset, true) + bytes.getUint32(offset + 4, true) * 2 ** 32;
}

/** Exact for canonical addresses of 48 bits, those of the upper half among them. */
function i64(bytes: DataView, offset: number): number {
  return bytes.getUint32(offset, true) + bytes.getInt32(offset + 4, true) * 2 ** 32;
}
