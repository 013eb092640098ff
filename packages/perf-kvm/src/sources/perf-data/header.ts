/** The front of a recording: its header, its events with their ids, its feature sections. */
import { type EventAttr, readAttr } from "./attr.js";
import type { ByteSource } from "./byte-source.js";
import { Bytes } from "./bytes.js";
import { PerfDataError } from "./error.js";
import { type Features, isKnownFeature, readFeature } from "./features.js";
import {
  FEATURE_BITS,
  FILE_HEADER_BYTES,
  HEADER_OFFSET,
  LARGEST_ATTR_BYTES,
  LARGEST_SECTION_BYTES,
  MAGIC,
  MAGIC_SWAPPED,
  MAGIC_VERSION_1,
  PIPE_HEADER_BYTES,
  SECTION_BYTES,
  SMALLEST_ATTR_BYTES,
} from "./format.js";

export interface EventWithIds {
  readonly attr: EventAttr;
  readonly ids: readonly number[];
}

export interface Header {
  readonly events: readonly EventWithIds[];
  readonly features: Features;
  /** Where the records are. An undefined end is that of the file, which its writer has not closed properly. */
  readonly data: { readonly offset: number; readonly end: number | undefined };
  /** A stream: everything comes as records. */
  readonly isPipe: boolean;
}

interface Section {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** More events than this cannot be opened on one machine for one recording. */
const MOST_EVENTS = 65_536;

/** Reads everything in front of and behind the records; `source` stands before the first record then. */
export function readHeader(source: ByteSource): Header {
  const head = new Bytes(source.readExactly(PIPE_HEADER_BYTES), 0);
  const magic = head.text(MAGIC.length);
  if (magic === MAGIC_SWAPPED)
    throw new PerfDataError("a big-endian machine has written it; only little-endian files are read", 0);
  if (magic === MAGIC_VERSION_1) throw new PerfDataError("it is of version 1 of the format (before 2010)", 0);
  if (magic !== MAGIC) throw new PerfDataError("it is no perf.data: PERFILE2 should stand here", 0);
  const sizeBytes = head.u64();
  if (sizeBytes === PIPE_HEADER_BYTES) {
    return { events: [], features: {}, data: { offset: PIPE_HEADER_BYTES, end: undefined }, isPipe: true };
  }
  if (sizeBytes !== FILE_HEADER_BYTES)
    throw new PerfDataError(`a header of ${sizeBytes} bytes; ${FILE_HEADER_BYTES} are known`, HEADER_OFFSET.SIZE);
  return readFileHeader(source);
}

function readFileHeader(source: ByteSource): Header {
  if (source.sizeBytes === undefined) {
    throw new PerfDataError("it was written to a file, and cannot be read from a pipe; give its name", 0);
  }
  source.position = 0;
  const head = new Bytes(source.readExactly(FILE_HEADER_BYTES), 0);
  head.at = HEADER_OFFSET.ATTR_SIZE;
  const attrBytes = head.u64();
  const attrs = readSection(head);
  const data = readSection(head);
  const isOpen = data.sizeBytes === 0;
  head.at = HEADER_OFFSET.FEATURES;
  const features: Features = {};
  // Features stand behind the data: an unclosed file has none yet.
  if (!isOpen) readFeatures(source, head.bytes(FEATURE_BITS / 8), data.offset + data.sizeBytes, features);
  const events = readEvents(source, attrs, attrBytes);
  if (data.offset + data.sizeBytes > source.sizeBytes) {
    const end = data.offset + data.sizeBytes;
    throw new PerfDataError(`the records end at byte ${end}, the file at ${source.sizeBytes}`, HEADER_OFFSET.DATA);
  }
  source.position = data.offset;
  return {
    events,
    features,
    data: { offset: data.offset, end: isOpen ? undefined : source.position + data.sizeBytes },
    isPipe: false,
  };
}

function readSection(bytes: Bytes): Section {
  return { offset: bytes.u64(), sizeBytes: bytes.u64() };
}

/** Takes a section into memory. */
function load(source: ByteSource, { offset, sizeBytes }: Section, what: string): Bytes {
  if (sizeBytes > LARGEST_SECTION_BYTES) {
    throw new PerfDataError(`${what} of ${sizeBytes} bytes; at most ${LARGEST_SECTION_BYTES} are read`, offset);
  }
  source.position = offset;
  return new Bytes(source.readExactly(sizeBytes), offset);
}

/** struct perf_file_attr: an attr, and the section of its ids. */
function readEvents(source: ByteSource, section: Section, entryBytes: number): EventWithIds[] {
  if (entryBytes < SMALLEST_ATTR_BYTES + SECTION_BYTES || entryBytes > LARGEST_ATTR_BYTES) {
    throw new PerfDataError(`entries of ${entryBytes} bytes for the events`, HEADER_OFFSET.ATTR_SIZE);
  }
  const count = Math.floor(section.sizeBytes / entryBytes);
  if (count > MOST_EVENTS) throw new PerfDataError(`${count} events; at most ${MOST_EVENTS} are read`, section.offset);
  const bytes = load(source, section, "a table of events");
  const budget = { ids: LARGEST_SECTION_BYTES / 8 };
  return Array.from({ length: count }, (_, index) => {
    bytes.at = index * entryBytes;
    const attr = readAttr(bytes, entryBytes - SECTION_BYTES);
    bytes.at = (index + 1) * entryBytes - SECTION_BYTES;
    const ids = readSection(bytes);
    budget.ids -= ids.sizeBytes / 8;
    if (budget.ids < 0) throw new PerfDataError("more ids of events than there can be", ids.offset);
    return { attr, ids: readIds(load(source, ids, "a table of ids")) };
  });
}

export function readIds(bytes: Bytes): number[] {
  return Array.from({ length: Math.floor(bytes.left / 8) }, () => bytes.u64());
}

/** Behind the data: one section for each bit that is set, in the order of the bits. */
function readFeatures(source: ByteSource, bitmap: Uint8Array, offset: number, into: Features): void {
  const present: number[] = [];
  for (let bit = 0; bit < FEATURE_BITS; bit++) if ((bitmap[bit >> 3]! & (1 << (bit & 7))) !== 0) present.push(bit);
  const table = load(source, { offset, sizeBytes: present.length * SECTION_BYTES }, "a table of features");
  for (const feature of present) {
    const section = readSection(table);
    if (!isKnownFeature(feature)) continue;
    const { view } = load(source, section, "a feature");
    readFeature(into, feature, new Uint8Array(view.buffer), section.offset);
  }
}
