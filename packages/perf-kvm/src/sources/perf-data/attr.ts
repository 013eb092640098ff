/** perf_event_attr as a file has it (include/uapi/linux/perf_event.h), and where its samples have what. */
import {
  PERF_ATTR_BITS,
  PERF_FORMAT_GROUP,
  PERF_FORMAT_ID,
  PERF_FORMAT_LOST,
  PERF_FORMAT_TOTAL_TIME_ENABLED,
  PERF_FORMAT_TOTAL_TIME_RUNNING,
  PERF_SAMPLE_ADDR,
  PERF_SAMPLE_CALLCHAIN,
  PERF_SAMPLE_CPU,
  PERF_SAMPLE_ID,
  PERF_SAMPLE_IDENTIFIER,
  PERF_SAMPLE_IP,
  PERF_SAMPLE_PERIOD,
  PERF_SAMPLE_RAW,
  PERF_SAMPLE_READ,
  PERF_SAMPLE_STREAM_ID,
  PERF_SAMPLE_TID,
  PERF_SAMPLE_TIME,
} from "@tools-kvm/kvm-binding/uapi";
import type { Bytes } from "./bytes.js";
import { LARGEST_ATTR_BYTES, RECORD_HEADER_BYTES, SMALLEST_ATTR_BYTES } from "./format.js";

export interface EventAttr {
  /** PERF_TYPE_*. */
  readonly type: number;
  /** For a tracepoint, the id of its format. */
  readonly config: bigint;
  /** PERF_SAMPLE_* bits. */
  readonly sampleType: number;
  readonly readFormat: number;
  /** Other records end with the identity of their thread, time and CPU. */
  readonly sampleIdAll: boolean;
}

/** Reads an attr, which tells its own size; `room` is how many bytes there are for it. */
export function readAttr(bytes: Bytes, room: number): EventAttr {
  const start = bytes.at;
  const type = bytes.u32();
  const sizeBytes = bytes.u32() || SMALLEST_ATTR_BYTES;
  if (sizeBytes < SMALLEST_ATTR_BYTES || sizeBytes > Math.min(room, LARGEST_ATTR_BYTES)) {
    bytes.at = start + 4;
    bytes.fail(`an event attribute of ${sizeBytes} bytes does not fit into ${room}`);
  }
  const config = bytes.bits64();
  bytes.skip(8);
  const sampleType = bytes.u64();
  const readFormat = bytes.u64();
  const bits = bytes.bits64();
  bytes.at = start + sizeBytes;
  const sampleIdAll = ((bits >> BigInt(PERF_ATTR_BITS.sampleIdAll)) & 1n) === 1n;
  return { type, config, sampleType, readFormat, sampleIdAll };
}

/** 64-bit fields in front of a sample, in their order (perf_event_open(2), PERF_RECORD_SAMPLE). */
const SAMPLE_FIELDS = {
  identifier: PERF_SAMPLE_IDENTIFIER,
  ip: PERF_SAMPLE_IP,
  tid: PERF_SAMPLE_TID,
  time: PERF_SAMPLE_TIME,
  addr: PERF_SAMPLE_ADDR,
  id: PERF_SAMPLE_ID,
  streamId: PERF_SAMPLE_STREAM_ID,
  cpu: PERF_SAMPLE_CPU,
  period: PERF_SAMPLE_PERIOD,
} as const;

/** The same at the end of other records (struct sample_id). */
const SAMPLE_ID_FIELDS = {
  tid: PERF_SAMPLE_TID,
  time: PERF_SAMPLE_TIME,
  id: PERF_SAMPLE_ID,
  streamId: PERF_SAMPLE_STREAM_ID,
  cpu: PERF_SAMPLE_CPU,
  identifier: PERF_SAMPLE_IDENTIFIER,
} as const;

const ABSENT = -1;

/**
 * Where the fields of a record are. Offsets of a sample count from its first byte, those of other records (`trailing`)
 * back from their last; -1 is a field that is not there.
 */
export class SampleLayout {
  readonly ip: number;
  /** Process and thread, 32 bits each. */
  readonly tid: number;
  readonly time: number;
  readonly addr: number;
  /** PERF_SAMPLE_IDENTIFIER or else PERF_SAMPLE_ID: which event it is. */
  readonly id: number;
  readonly cpu: number;
  readonly period: number;
  /** How long a sample is at least. */
  readonly fixedBytes: number;
  /** Distance from the record's end; -1 when absent. */
  readonly trailingTime: number;
  readonly trailingId: number;
  readonly trailingBytes: number;
  readonly #sampleType: number;
  readonly #readFormat: number;

  constructor({ sampleType, readFormat, sampleIdAll }: EventAttr) {
    this.#sampleType = sampleType;
    this.#readFormat = readFormat;
    const front = placed(SAMPLE_FIELDS, sampleType, RECORD_HEADER_BYTES);
    const at = (name: keyof typeof SAMPLE_FIELDS): number => front.offsets.get(name) ?? ABSENT;
    this.ip = at("ip");
    this.tid = at("tid");
    this.time = at("time");
    this.addr = at("addr");
    this.id = at("identifier") === ABSENT ? at("id") : at("identifier");
    this.cpu = at("cpu");
    this.period = at("period");
    this.fixedBytes = front.end;
    const back = placed(SAMPLE_ID_FIELDS, sampleIdAll ? sampleType : 0, 0);
    const fromEnd = (name: keyof typeof SAMPLE_ID_FIELDS): number => {
      const offset = back.offsets.get(name);
      return offset === undefined ? ABSENT : back.end - offset;
    };
    this.trailingTime = fromEnd("time");
    this.trailingId = fromEnd("identifier") === ABSENT ? fromEnd("id") : fromEnd("identifier");
    this.trailingBytes = back.end;
    const isMovable = (sampleType & (PERF_SAMPLE_READ | PERF_SAMPLE_CALLCHAIN)) !== 0;
    this.fixedRaw = (sampleType & PERF_SAMPLE_RAW) === 0 || isMovable ? ABSENT : front.end;
  }

  /** Where the size of the raw data is in every sample; -1 when it depends on the sample, or there is none. */
  readonly fixedRaw: number;

  /** Where the size of the raw data (u32) is in a sample that lies at `at` and ends at `end`; -1 when there is none. */
  rawAt(view: DataView, at: number, end: number): number {
    if (this.fixedRaw >= 0) {
      const fixed = at + this.fixedRaw;
      return fixed + 4 <= end && fixed + 4 + view.getUint32(fixed, true) <= end ? fixed : ABSENT;
    }
    const type = this.#sampleType;
    if ((type & PERF_SAMPLE_RAW) === 0) return ABSENT;
    let raw = at + this.fixedBytes;
    if ((type & PERF_SAMPLE_READ) !== 0) raw += readBytes(this.#readFormat, view, raw, end);
    if ((type & PERF_SAMPLE_CALLCHAIN) !== 0) raw += raw + 8 > end ? Infinity : 8 + 8 * u64At(view, raw);
    return raw + 4 <= end && raw + 4 + view.getUint32(raw, true) <= end ? raw : ABSENT;
  }

  /** True when records of both can be told apart by the same bytes. */
  isLike(other: SampleLayout): boolean {
    return this.id === other.id && this.trailingId === other.trailingId && this.id !== ABSENT;
  }

  equals(other: SampleLayout): boolean {
    return (
      this.#sampleType === other.#sampleType &&
      this.#readFormat === other.#readFormat &&
      this.trailingBytes === other.trailingBytes
    );
  }
}

function placed<Name extends string>(fields: Record<Name, number>, sampleType: number, from: number) {
  const offsets = new Map<Name, number>();
  let end = from;
  for (const [name, bit] of Object.entries(fields) as [Name, number][]) {
    if ((sampleType & bit) === 0) continue;
    offsets.set(name, end);
    end += 8;
  }
  return { offsets, end };
}

/** How many bytes PERF_SAMPLE_READ takes (struct read_format). */
function readBytes(format: number, view: DataView, at: number, end: number): number {
  const has = (bit: number): number => ((format & bit) !== 0 ? 8 : 0);
  const times = has(PERF_FORMAT_TOTAL_TIME_ENABLED) + has(PERF_FORMAT_TOTAL_TIME_RUNNING);
  const value = 8 + has(PERF_FORMAT_ID) + has(PERF_FORMAT_LOST);
  if ((format & PERF_FORMAT_GROUP) === 0) return times + value;
  return at + 8 > end ? Infinity : 8 + times + value * u64At(view, at);
}

export function u64At(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}
