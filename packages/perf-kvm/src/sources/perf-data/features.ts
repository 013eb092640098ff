/** What a recording says about itself: its feature sections (struct perf_file_section each, or one record in a stream). */
import { readAttr } from "./attr.js";
import { Bytes } from "./bytes.js";
import { FEATURE } from "./format.js";
import { type RecordedFormats, readTracingData } from "./tracing-data.js";

export interface EventDescription {
  readonly name: string;
  readonly ids: readonly number[];
}

export interface Features {
  hostname?: string;
  osRelease?: string;
  perfVersion?: string;
  arch?: string;
  cpuDescription?: string;
  /** `AuthenticAMD,25,17,1`. */
  cpuid?: string;
  commandLine?: readonly string[];
  events?: readonly EventDescription[];
  /** File name by build id, in hexadecimal. */
  buildIds?: ReadonlyMap<string, string>;
  formats?: RecordedFormats;
}

const STRINGS: Readonly<Record<number, keyof Features>> = {
  [FEATURE.HOSTNAME]: "hostname",
  [FEATURE.OS_RELEASE]: "osRelease",
  [FEATURE.VERSION]: "perfVersion",
  [FEATURE.ARCH]: "arch",
  [FEATURE.CPU_DESCRIPTION]: "cpuDescription",
  [FEATURE.CPUID]: "cpuid",
};

/** True for a feature that `readFeature` takes note of. */
export function isKnownFeature(feature: number): boolean {
  return (
    feature in STRINGS ||
    feature === FEATURE.TRACING_DATA ||
    feature === FEATURE.BUILD_ID ||
    feature === FEATURE.COMMAND_LINE ||
    feature === FEATURE.EVENT_DESCRIPTION
  );
}

/** Adds one section to what is known; `offset` is where its bytes are in the file. Throws PerfDataError. */
export function readFeature(features: Features, feature: number, section: Uint8Array, offset: number): void {
  const bytes = new Bytes(section, offset);
  const name = STRINGS[feature];
  if (name !== undefined) (features as Record<string, string>)[name] = readString(bytes);
  else if (feature === FEATURE.TRACING_DATA) features.formats = readTracingData(bytes);
  else if (feature === FEATURE.COMMAND_LINE) features.commandLine = readStrings(bytes);
  else if (feature === FEATURE.EVENT_DESCRIPTION) features.events = readEventDescriptions(bytes);
  else if (feature === FEATURE.BUILD_ID) features.buildIds = readBuildIds(bytes);
}

/** struct perf_header_string: its length with padding, then text that ends in zero. */
function readString(bytes: Bytes): string {
  return bytes.text(bytes.u32());
}

function readStrings(bytes: Bytes): string[] {
  // Each takes at least its length: a count that is larger ends the section.
  return Array.from({ length: atMost(bytes, bytes.u32(), 4) }, () => readString(bytes));
}

function readEventDescriptions(bytes: Bytes): EventDescription[] {
  const count = atMost(bytes, bytes.u32(), 8);
  const attrBytes = bytes.u32();
  return Array.from({ length: count }, () => {
    const start = bytes.at;
    if (attrBytes > bytes.left) bytes.fail(`an event attribute of ${attrBytes} bytes does not fit`);
    readAttr(bytes, attrBytes);
    bytes.at = start + attrBytes;
    const ids = atMost(bytes, bytes.u32(), 8);
    const name = readString(bytes);
    return { name, ids: Array.from({ length: ids }, () => bytes.u64()) };
  });
}

/** A record each: header (8), process (4), build id (20 of 24), file name. */
function readBuildIds(bytes: Bytes): Map<string, string> {
  const names = new Map<string, string>();
  while (bytes.left >= 8) {
    const start = bytes.at;
    bytes.skip(6);
    const sizeBytes = bytes.view.getUint16(start + 6, true);
    bytes.at = start;
    if (sizeBytes < 36) bytes.fail(`a build id in a record of ${sizeBytes} bytes`);
    bytes.skip(12);
    const id = Buffer.from(bytes.bytes(20)).toString("hex");
    bytes.skip(4);
    names.set(id, bytes.text(sizeBytes - 36));
  }
  return names;
}

/** A count of things that take so many bytes each at least. */
export function atMost(bytes: Bytes, count: number, eachBytes: number): number {
  if (count * eachBytes > bytes.left) bytes.fail(`${count} entries do not fit into ${bytes.left} bytes`);
  return count;
}
