/**
 * The header of a qcow2 image and its extensions (QEMU, docs/interop/qcow2.txt, "Header", "Header extensions"). What this
 * implementation cannot do right is refused here, by name; so is every size that would make it allocate without bound.
 */
import { DiskError } from "../errors.js";

export const QCOW2_MAGIC = 0x514649fb;

/** Byte offsets of header fields that are written after an image was made. */
export const HEADER_FIELD = { refcountTableOffset: 48, autoclearFeatures: 88 } as const;

const INCOMPATIBLE = { dirty: 0, corrupt: 1, externalDataFile: 2, compressionType: 3, extendedL2: 4 } as const;
const EXTENSION = { end: 0, backingFormat: 0xe2792aca, featureNames: 0x6803f857 } as const;

const V2_BYTES = 72;
const V3_BYTES = 104;
const CLUSTER_BITS = { least: 9, most: 21 } as const;
const MOST_BACKING_NAME_BYTES = 1023;
/** QEMU's own limits: a larger table is not something a real image has. */
const MOST_L1_BYTES = 32 * 2 ** 20;
export const MOST_REFCOUNT_TABLE_BYTES = 8 * 2 ** 20;

export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly clusterBytes: number;
  /** Of the disk that the guest sees. */
  readonly sizeBytes: number;
  readonly l1Entries: number;
  readonly l1TableOffset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  /** A refcount has 2^refcountOrder bits. */
  readonly refcountOrder: number;
  readonly snapshotCount: number;
  readonly compression: "zlib" | "zstd";
  /** Refcounts may be wrong: the image was not closed by a writer that postpones them. */
  readonly dirty: boolean;
  /** A writer found the image damaged. */
  readonly corrupt: boolean;
  readonly hasAutoclearFeatures: boolean;
  readonly backing: { readonly name: string; readonly format: string | undefined } | undefined;
}

/** True when the bytes begin as a qcow2 image does. */
export function isQcow2(head: Uint8Array): boolean {
  return head.length >= 4 && viewOf(head).getUint32(0) === QCOW2_MAGIC;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** How many bytes parseHeader() wants to see of the image that begins with these 24 or more. */
export function headerAreaBytes(head: Uint8Array): number {
  return 2 ** clusterBitsOf(head);
}

function clusterBitsOf(head: Uint8Array): number {
  if (!isQcow2(head)) throw new DiskError("EINVAL", "not a qcow2 image");
  if (head.length < V2_BYTES)
    throw new DiskError("EINVAL", `a qcow2 image of ${head.length} bytes: shorter than its header`);
  const bits = viewOf(head).getUint32(20);
  if (bits < CLUSTER_BITS.least || bits > CLUSTER_BITS.most) {
    throw new DiskError("EINVAL", `clusters of 2^${bits} bytes, where qcow2 images have 2^9 to 2^21`);
  }
  return bits;
}

/**
 * Reads and checks a header.
 * @param bytes the image's first cluster, or what there is of it
 * @param fileBytes how long the image's file is: no table may begin beyond it
 * @throws DiskError EINVAL for a header that is broken, ENOTSUP for a feature that is not supported, named
 */
export function parseHeader(bytes: Uint8Array, fileBytes: number): Qcow2Header {
  const clusterBits = clusterBitsOf(bytes);
  const clusterBytes = 2 ** clusterBits;
  const view = viewOf(bytes.subarray(0, clusterBytes));
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3)
    throw new DiskError("ENOTSUP", `a qcow2 image of version ${version}; versions 2 and 3 are known`);
  const headerBytes = version === 2 ? V2_BYTES : headerLength(view);
  const field64 = (at: number, name: string) => safe64(view, at, name);
  const cryptMethod = view.getUint32(32);
  if (cryptMethod !== 0)
    throw new DiskError(
      "ENOTSUP",
      `an encrypted qcow2 image (${cryptMethod === 2 ? "LUKS" : `method ${cryptMethod}`})`,
    );
  const extensions = readExtensions(view, headerBytes);
  const features = version === 2 ? NO_FEATURES : readFeatures(view, headerBytes, extensions);
  const sizeBytes = field64(24, "disk size");
  const l1Entries = view.getUint32(36);
  const l1TableOffset = field64(40, "L1 table");
  const refcountTableOffset = field64(48, "refcount table");
  const refcountTableClusters = view.getUint32(56);
  const refcountOrder = version === 2 ? 4 : view.getUint32(96);
  if (refcountOrder > 6) throw new DiskError("EINVAL", `refcounts of 2^${refcountOrder} bits, where 64 are the most`);

  const table = (name: string, offset: number, length: number, most: number) => {
    if (length > most) throw new DiskError("EINVAL", `${name} of ${length} bytes, where ${most} are the most`);
    if (length === 0) return;
    if (offset === 0 || offset % clusterBytes !== 0)
      throw new DiskError("EINVAL", `${name} at ${offset}, which is no cluster's start`);
    if (offset >= fileBytes)
      throw new DiskError("EINVAL", `${name} at ${offset}, beyond the end of the file at ${fileBytes}: truncated?`);
  };
  table("an L1 table", l1TableOffset, l1Entries * 8, MOST_L1_BYTES);
  if (refcountTableClusters === 0) throw new DiskError("EINVAL", "a qcow2 image without a refcount table");
  table("a refcount table", refcountTableOffset, refcountTableClusters * clusterBytes, MOST_REFCOUNT_TABLE_BYTES);
  const bytesPerL1Entry = clusterBytes * (clusterBytes / 8);
  if (Math.ceil(sizeBytes / bytesPerL1Entry) > l1Entries) {
    throw new DiskError("EINVAL", `an L1 table of ${l1Entries} entries is too small for a disk of ${sizeBytes} bytes`);
  }
  return {
    version,
    clusterBits,
    clusterBytes,
    sizeBytes,
    l1Entries,
    l1TableOffset,
    refcountTableOffset,
    refcountTableClusters,
    refcountOrder,
    snapshotCount: view.getUint32(60),
    ...features,
    backing: readBacking(view, extensions),
  };
}

function headerLength(view: DataView): number {
  if (view.byteLength < V3_BYTES)
    throw new DiskError("EINVAL", `a qcow2 image of ${view.byteLength} bytes: shorter than its header`);
  const length = view.getUint32(100);
  if (length < V3_BYTES || length % 8 !== 0 || length > view.byteLength) {
    throw new DiskError("EINVAL", `a header length of ${length}, in a first cluster of ${view.byteLength} bytes`);
  }
  return length;
}

function safe64(view: DataView, at: number, name: string): number {
  const value = view.getBigUint64(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw new DiskError("EINVAL", `${name}: ${value} is beyond what a file can hold`);
  return Number(value);
}

/** Header extensions by type, the first of each. */
function readExtensions(view: DataView, headerBytes: number): Map<number, Uint8Array> {
  const extensions = new Map<number, Uint8Array>();
  const nameOffset = view.getBigUint64(8);
  const end = nameOffset !== 0n && nameOffset < BigInt(view.byteLength) ? Number(nameOffset) : view.byteLength;
  let at = headerBytes;
  while (at + 8 <= end) {
    const type = view.getUint32(at);
    const length = view.getUint32(at + 4);
    if (type === EXTENSION.end) break;
    if (at + 8 + length > end)
      throw new DiskError("EINVAL", `header extension 0x${type.toString(16)} is longer than the room for it`);
    if (!extensions.has(type)) extensions.set(type, new Uint8Array(view.buffer, view.byteOffset + at + 8, length));
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return extensions;
}

type Features = Pick<Qcow2Header, "compression" | "dirty" | "corrupt" | "hasAutoclearFeatures">;
const NO_FEATURES: Features = { compression: "zlib", dirty: false, corrupt: false, hasAutoclearFeatures: false };

function readFeatures(view: DataView, headerBytes: number, extensions: Map<number, Uint8Array>): Features {
  const incompatible = view.getBigUint64(72);
  const has = (bit: number) => ((incompatible >> BigInt(bit)) & 1n) === 1n;
  if (has(INCOMPATIBLE.externalDataFile)) throw new DiskError("ENOTSUP", "a qcow2 image with an external data file");
  if (has(INCOMPATIBLE.extendedL2))
    throw new DiskError("ENOTSUP", "a qcow2 image with extended L2 entries (subclusters)");
  for (let bit = INCOMPATIBLE.extendedL2 + 1; bit < 64; bit++) {
    if (!has(bit)) continue;
    throw new DiskError(
      "ENOTSUP",
      `a qcow2 image with the unknown incompatible feature ${featureName(extensions, bit)}`,
    );
  }
  const compressionType = headerBytes > V3_BYTES ? view.getUint8(V3_BYTES) : 0;
  if (has(INCOMPATIBLE.compressionType) !== (compressionType !== 0)) {
    throw new DiskError("EINVAL", `compression type ${compressionType} does not agree with the image's feature bits`);
  }
  if (compressionType > 1) throw new DiskError("ENOTSUP", `a qcow2 image with compression type ${compressionType}`);
  return {
    compression: compressionType === 1 ? "zstd" : "zlib",
    dirty: has(INCOMPATIBLE.dirty),
    corrupt: has(INCOMPATIBLE.corrupt),
    hasAutoclearFeatures: view.getBigUint64(HEADER_FIELD.autoclearFeatures) !== 0n,
  };
}

const FEATURE_ENTRY_BYTES = 48;

/** The bit, and what the image's feature name table calls it. */
function featureName(extensions: Map<number, Uint8Array>, bit: number): string {
  const table = extensions.get(EXTENSION.featureNames) ?? new Uint8Array();
  for (let at = 0; at + FEATURE_ENTRY_BYTES <= table.length; at += FEATURE_ENTRY_BYTES) {
    if (table[at] === 0 && table[at + 1] === bit)
      return `bit ${bit} (${printable(table.subarray(at + 2, at + FEATURE_ENTRY_BYTES))})`;
  }
  return `bit ${bit}`;
}

function printable(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString("latin1")
    .replace(/\0.*$/s, "")
    .replace(/[^ -~]/g, "?");
}

function readBacking(view: DataView, extensions: Map<number, Uint8Array>): Qcow2Header["backing"] {
  const offset = safe64(view, 8, "backing file name");
  if (offset === 0) return undefined;
  const length = view.getUint32(16);
  if (length === 0) return undefined;
  if (length > MOST_BACKING_NAME_BYTES || offset + length > view.byteLength) {
    throw new DiskError(
      "EINVAL",
      `a backing file name of ${length} bytes at ${offset} does not fit into the first cluster`,
    );
  }
  const name = Buffer.from(view.buffer, view.byteOffset + offset, length).toString("utf8");
  if (name.includes("\0")) throw new DiskError("EINVAL", "a backing file name with a zero byte in it");
  const format = extensions.get(EXTENSION.backingFormat);
  return { name, format: format === undefined ? undefined : printable(format.subarray(0, 32)) };
}
