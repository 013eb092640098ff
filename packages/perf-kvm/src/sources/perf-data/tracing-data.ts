/**
 * The formats of tracepoints that a recording carries along (HEADER_TRACING_DATA): what trace-cmd writes in front of its
 * files, format version 0.5 or 0.6 (trace-cmd.dat.v6(5)).
 */
import type { Bytes } from "./bytes.js";

/** The text of `events/SYSTEM/NAME/format` as the recording kernel had it. */
export interface RecordedFormat {
  readonly system: string;
  readonly name: string;
  readonly text: string;
}

/** By the tracepoint's id, which is `config` of its attribute. */
export type RecordedFormats = ReadonlyMap<number, RecordedFormat>;

const MAGIC = Uint8Array.of(0x17, 0x08, 0x44);
const WORD = "tracing";
const LITTLE_ENDIAN = 0;
/** A system without events and an event without text still take bytes: more than this cannot be meant. */
const MOST_ENTRIES = 1_000_000;

export function readTracingData(bytes: Bytes): RecordedFormats {
  const magic = bytes.bytes(MAGIC.length);
  if (!magic.every((byte, index) => byte === MAGIC[index]) || bytes.text(WORD.length) !== WORD) {
    bytes.at = 0;
    bytes.fail("the tracing data do not begin as they should");
  }
  bytes.zeroTerminated(); // version
  if (bytes.u8() !== LITTLE_ENDIAN) bytes.fail("the tracing data are big-endian; only little-endian ones are read");
  bytes.u8(); // size of a long
  bytes.u32(); // size of a page
  for (const part of ["header_page", "header_event"]) {
    if (bytes.zeroTerminated() !== part) bytes.fail(`the tracing data lack ${part}`);
    bytes.skip(bytes.u64());
  }
  const formats = new Map<number, RecordedFormat>();
  for (let count = entries(bytes); count > 0; count--) readFormat(bytes, "ftrace", formats);
  for (let systems = entries(bytes); systems > 0; systems--) {
    const system = bytes.zeroTerminated();
    for (let count = entries(bytes); count > 0; count--) readFormat(bytes, system, formats);
  }
  // Symbols, printk formats and process names follow; nothing here needs them.
  return formats;
}

function entries(bytes: Bytes): number {
  const count = bytes.u32();
  if (count > MOST_ENTRIES) bytes.fail(`${count} formats are more than there can be`);
  return count;
}

function readFormat(bytes: Bytes, system: string, into: Map<number, RecordedFormat>): void {
  const text = bytes.text(bytes.u64());
  const name = /^name: (\S+)$/m.exec(text)?.[1];
  const id = /^ID: (\d{1,9})$/m.exec(text)?.[1];
  if (name !== undefined && id !== undefined) into.set(Number(id), { system, name, text });
}
