/**
 * Writes a recording that `perf script`, `perf report` and `perf kvm stat report` read: header, events with their ids, the
 * records as the rings gave them, and at the end what it says about itself.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import {
  encodePerfAttr,
  PERF_RECORD_COMM,
  PERF_RECORD_MISC_USER,
  PERF_RECORD_MMAP2,
  type PerfAttr,
  PerfEventAttr,
} from "@tools-kvm/kvm-binding";
import {
  FEATURE,
  FEATURE_BITS,
  FILE_HEADER_BYTES,
  HEADER_OFFSET,
  MAGIC,
  SECTION_BYTES,
  USER_RECORD,
} from "./format.js";
import type { RecordedFormat } from "./tracing-data.js";

export interface WrittenEvent {
  /** `kvm:kvm_exit`. */
  readonly name: string;
  /** As it was opened: what a sample holds is said here. All events of a recording have the same `sampleType`. */
  readonly attr: PerfAttr;
  /** Kernel's ids of each descriptor that was opened for it. */
  readonly ids: readonly number[];
}

export interface RecordingInfo {
  readonly hostname: string;
  readonly osRelease: string;
  /** What wrote it. */
  readonly version: string;
  readonly arch: string;
  readonly cpus: { readonly available: number; readonly online: number };
  readonly cpuDescription: string;
  /** `AuthenticAMD,25,17,1`: perf tells VMX and SVM apart by it. */
  readonly cpuid: string;
  readonly commandLine: readonly string[];
  readonly tracing: TracingInfo;
}

export interface TracingInfo {
  readonly formats: readonly RecordedFormat[];
  /** events/header_page and events/header_event of tracefs; those of a 64-bit kernel with pages of 4 KiB when left out. */
  readonly headerPage?: string;
  readonly headerEvent?: string;
}

const BUFFER_BYTES = 2 ** 20;
/** Texts in features take a multiple of this (NAME_ALIGN). */
const TEXT_ALIGN = 64;
const PAGE_BYTES = 4096;
/** Fields of struct buffer_data_page and ring_buffer_event: nothing of a perf recording depends on them, but perf asks. */
const HEADER_PAGE = [
  "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;",
  "\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;",
  "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;",
  "\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;",
  "",
].join("\n");
const HEADER_EVENT = "# compressed entry header\n";
const LONG_BYTES = 8;

export class PerfDataWriter {
  readonly #fd: number;
  readonly #events: readonly WrittenEvent[];
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #buffered = 0;
  #written = 0;
  readonly #attrs: Section;
  readonly #dataOffset: number;

  /** Begins the file. Throws the system's error (EACCES, ENOSPC). */
  constructor(path: string, events: readonly WrittenEvent[]) {
    this.#events = events;
    this.#fd = openSync(path, "w", 0o600);
    const ids = new ByteWriter();
    const idSections = events.map((event) => {
      const offset = FILE_HEADER_BYTES + ids.length;
      for (const id of event.ids) ids.u64(id);
      return { offset, sizeBytes: 8 * event.ids.length };
    });
    const attrs = new ByteWriter();
    for (const [index, { attr }] of events.entries()) {
      attrs.bytes(encodePerfAttr(attr).bytes);
      attrs.section(idSections[index]!);
    }
    this.#attrs = { offset: FILE_HEADER_BYTES + ids.length, sizeBytes: attrs.length };
    this.#dataOffset = this.#attrs.offset + attrs.length;
    // Until it is closed, the header says that there are no data: perf takes the rest of the file for them.
    this.#append(this.#header(0, []));
    this.#append(ids.take());
    this.#append(attrs.take());
  }

  /** Whole records, as a ring gave them. */
  records(bytes: Uint8Array): void {
    this.#append(bytes);
  }

  /** Says that no record of the rounds before the last one is to come. */
  finishedRound(): void {
    const record = new ByteWriter();
    record.head(USER_RECORD.FINISHED_ROUND, 0, 8);
    this.#append(record.take());
  }

  /** The name of a thread that was there before the recording. `sampleIdBytes` is what the attributes add to a record. */
  comm(pid: number, tid: number, name: string, sampleIdBytes = 0): void {
    const text = padded(name, 8);
    const record = new ByteWriter();
    record.head(PERF_RECORD_COMM, PERF_RECORD_MISC_USER, 16 + text.length + sampleIdBytes);
    record.u32(pid);
    record.u32(tid);
    record.bytes(text);
    record.bytes(new Uint8Array(sampleIdBytes));
    this.#append(record.take());
  }

  /** An executable mapping that was there before the recording. */
  mmap(pid: number, mapping: Mapping, sampleIdBytes = 0): void {
    const text = padded(mapping.path, 8);
    const record = new ByteWriter();
    record.head(PERF_RECORD_MMAP2, PERF_RECORD_MISC_USER, 72 + text.length + sampleIdBytes);
    record.u32(pid);
    record.u32(pid);
    for (const value of [mapping.start, mapping.sizeBytes, mapping.fileOffset]) record.u64(value);
    record.u32(mapping.deviceMajor);
    record.u32(mapping.deviceMinor);
    record.u64(mapping.inode);
    record.u64(0); // generation of the inode
    record.u32(mapping.protection);
    record.u32(mapping.flags);
    record.bytes(text);
    record.bytes(new Uint8Array(sampleIdBytes));
    this.#append(record.take());
  }

  /** Ends the file with what it says about itself. */
  close(info: RecordingInfo): void {
    const data = this.#position - this.#dataOffset;
    const features = this.#features(info);
    const tableBytes = features.length * SECTION_BYTES;
    const table = new ByteWriter();
    let offset = this.#position + tableBytes;
    for (const { bytes } of features) {
      table.section({ offset, sizeBytes: bytes.length });
      offset += bytes.length;
    }
    this.#append(table.take());
    for (const { bytes } of features) this.#append(bytes);
    this.#flush();
    const header = this.#header(
      data,
      features.map(({ feature }) => feature),
    );
    writeAll(this.#fd, header, 0);
    closeSync(this.#fd);
  }

  /** Gives up: the file stays as an unclosed one. */
  abort(): void {
    this.#flush();
    closeSync(this.#fd);
  }

  get #position(): number {
    return this.#written + this.#buffered;
  }

  #header(dataBytes: number, features: readonly number[]): Uint8Array {
    const header = new ByteWriter();
    header.text(MAGIC);
    header.u64(FILE_HEADER_BYTES);
    header.u64(PerfEventAttr.sizeBytes + SECTION_BYTES);
    header.section(this.#attrs);
    header.section({ offset: this.#dataOffset, sizeBytes: dataBytes });
    header.section({ offset: 0, sizeBytes: 0 }); // event types, which no kernel has any more
    const bitmap = new Uint8Array(FEATURE_BITS / 8);
    for (const feature of features) bitmap[feature >> 3]! |= 1 << (feature & 7);
    if (header.length !== HEADER_OFFSET.FEATURES) throw new RangeError("the header is not as long as it should be");
    header.bytes(bitmap);
    return header.take();
  }

  /** In the order of their numbers. */
  #features(info: RecordingInfo): { feature: number; bytes: Uint8Array }[] {
    const string = (value: string): Uint8Array => {
      const bytes = new ByteWriter();
      bytes.string(value);
      return bytes.take();
    };
    return [
      { feature: FEATURE.TRACING_DATA, bytes: tracingData(info.tracing) },
      { feature: FEATURE.HOSTNAME, bytes: string(info.hostname) },
      { feature: FEATURE.OS_RELEASE, bytes: string(info.osRelease) },
      { feature: FEATURE.VERSION, bytes: string(info.version) },
      { feature: FEATURE.ARCH, bytes: string(info.arch) },
      {
        feature: FEATURE.CPU_COUNT,
        bytes: Uint8Array.from(new Uint8Array(Uint32Array.of(info.cpus.available, info.cpus.online).buffer)),
      },
      { feature: FEATURE.CPU_DESCRIPTION, bytes: string(info.cpuDescription) },
      { feature: FEATURE.CPUID, bytes: string(info.cpuid) },
      { feature: FEATURE.COMMAND_LINE, bytes: strings(info.commandLine) },
      { feature: FEATURE.EVENT_DESCRIPTION, bytes: eventDescriptions(this.#events) },
    ];
  }

  #append(bytes: Uint8Array): void {
    if (this.#buffered + bytes.length > BUFFER_BYTES) this.#flush();
    if (bytes.length > BUFFER_BYTES) {
      writeAll(this.#fd, bytes, this.#written);
      this.#written += bytes.length;
      return;
    }
    this.#buffer.set(bytes, this.#buffered);
    this.#buffered += bytes.length;
  }

  #flush(): void {
    writeAll(this.#fd, this.#buffer.subarray(0, this.#buffered), this.#written);
    this.#written += this.#buffered;
    this.#buffered = 0;
  }
}

/** A line of /proc/PID/maps. */
export interface Mapping {
  readonly start: number;
  readonly sizeBytes: number;
  readonly fileOffset: number;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  readonly inode: number;
  /** PROT_* and MAP_*. */
  readonly protection: number;
  readonly flags: number;
  readonly path: string;
}

interface Section {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Bytes that grow. */
class ByteWriter {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  length = 0;

  take(): Uint8Array {
    return this.#bytes.slice(0, this.length);
  }

  head(type: number, misc: number, sizeBytes: number): void {
    this.u32(type);
    this.u32(misc + sizeBytes * 2 ** 16);
  }

  u8(value: number): void {
    this.#room(1);
    this.#bytes[this.length++] = value;
  }

  u32(value: number): void {
    this.#room(4);
    this.#view.setUint32(this.length, value, true);
    this.length += 4;
  }

  u64(value: number): void {
    this.#room(8);
    this.#view.setBigUint64(this.length, BigInt(value), true);
    this.length += 8;
  }

  bytes(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  text(text: string): void {
    this.bytes(Buffer.from(text, "latin1"));
  }

  zeroTerminated(text: string): void {
    this.text(`${text}\0`);
  }

  /** struct perf_header_string. */
  string(text: string): void {
    const bytes = padded(text, TEXT_ALIGN);
    this.u32(bytes.length);
    this.bytes(bytes);
  }

  section({ offset, sizeBytes }: Section): void {
    this.u64(offset);
    this.u64(sizeBytes);
  }

  #room(count: number): void {
    if (this.length + count <= this.#bytes.length) return;
    const larger = new Uint8Array(2 * (this.length + count));
    larger.set(this.#bytes);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

/** With at least one zero behind it. */
function padded(text: string, align: number): Uint8Array {
  const bytes = Buffer.from(text, "latin1");
  const out = new Uint8Array(Math.ceil((bytes.length + 1) / align) * align);
  out.set(bytes);
  return out;
}

function strings(texts: readonly string[]): Uint8Array {
  const bytes = new ByteWriter();
  bytes.u32(texts.length);
  for (const text of texts) bytes.string(text);
  return bytes.take();
}

function eventDescriptions(events: readonly WrittenEvent[]): Uint8Array {
  const bytes = new ByteWriter();
  bytes.u32(events.length);
  bytes.u32(PerfEventAttr.sizeBytes);
  for (const { name, attr, ids } of events) {
    bytes.bytes(encodePerfAttr(attr).bytes);
    bytes.u32(ids.length);
    bytes.string(name);
    for (const id of ids) bytes.u64(id);
  }
  return bytes.take();
}

/** As trace-cmd writes it, format version 0.6; without symbols, printk formats and process names. */
function tracingData({ formats, headerPage = HEADER_PAGE, headerEvent = HEADER_EVENT }: TracingInfo): Uint8Array {
  const bytes = new ByteWriter();
  bytes.text("\x17\x08\x44tracing");
  bytes.zeroTerminated("0.6");
  bytes.u8(0); // little-endian
  bytes.u8(LONG_BYTES);
  bytes.u32(PAGE_BYTES);
  for (const [name, text] of [
    ["header_page", headerPage],
    ["header_event", headerEvent],
  ] as const) {
    bytes.zeroTerminated(name);
    bytes.u64(text.length);
    bytes.text(text);
  }
  bytes.u32(0); // formats of ftrace's own events
  const systems = new Map<string, RecordedFormat[]>();
  for (const format of formats) systems.set(format.system, [...(systems.get(format.system) ?? []), format]);
  bytes.u32(systems.size);
  for (const [system, list] of systems) {
    bytes.zeroTerminated(system);
    bytes.u32(list.length);
    for (const { text } of list) {
      bytes.u64(text.length);
      bytes.text(text);
    }
  }
  bytes.u32(0); // symbols
  bytes.u32(0); // printk formats
  bytes.u64(0); // process names
  return bytes.take();
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
}
