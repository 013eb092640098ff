/** Makes an empty qcow2 image, such as an overlay on a backing file that must stay as it is. */
import { closeSync, fsyncSync, openSync, unlinkSync, writeSync } from "node:fs";
import { DiskError } from "../errors.js";
import { QCOW2_MAGIC } from "./header.js";

export interface CreateQcow2Options {
  /** Of the disk, a multiple of 512. */
  readonly sizeBytes: number;
  /** A power of two from 512 to 2 MiB; 64 KiB by default. */
  readonly clusterBytes?: number;
  /** What shows where nothing was written: a name relative to the new image's folder, or an absolute one, and its format. */
  readonly backing?: { readonly name: string; readonly format: "raw" | "qcow2" };
}

const HEADER_BYTES = 112;
const REFCOUNT_ORDER = 4;
const MOST_L1_ENTRIES = 2 ** 22;

/**
 * Writes a new image of version 3. @throws an Error with `code`: EEXIST when there is a file of that name, EINVAL for options that no image can have
 */
export function createQcow2(path: string, options: CreateQcow2Options): void {
  const image = emptyImage(options);
  const fd = openSync(path, "wx");
  try {
    for (let at = 0; at < image.length; ) at += writeSync(fd, image, at, image.length - at, at);
    fsyncSync(fd);
    closeSync(fd);
  } catch (error) {
    closeSync(fd);
    unlinkSync(path);
    throw error;
  }
}

/** Header, refcount table, refcount blocks and L1 table, in this order, each on clusters of its own. */
function emptyImage({ sizeBytes, clusterBytes = 2 ** 16, backing }: CreateQcow2Options): Uint8Array {
  const clusterBits = Math.log2(clusterBytes);
  if (!Number.isInteger(clusterBits) || clusterBits < 9 || clusterBits > 21) {
    throw new DiskError(
      "EINVAL",
      `clusters of ${clusterBytes} bytes, where a power of two from 512 to 2097152 is needed`,
    );
  }
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes % 512 !== 0) {
    throw new DiskError("EINVAL", `a disk of ${sizeBytes} bytes, where whole sectors of 512 are needed`);
  }
  const l1Entries = Math.ceil(sizeBytes / (clusterBytes * (clusterBytes / 8)));
  if (l1Entries > MOST_L1_ENTRIES) {
    throw new DiskError("EINVAL", `a disk of ${sizeBytes} bytes is too large for clusters of ${clusterBytes}`);
  }
  const l1Clusters = Math.max(1, Math.ceil((l1Entries * 8) / clusterBytes));
  const perBlock = (clusterBytes * 8) / 2 ** REFCOUNT_ORDER;
  let [blocks, tableClusters] = [1, 1];
  const total = () => 1 + tableClusters + blocks + l1Clusters;
  while (blocks * perBlock < total()) {
    blocks = Math.ceil(total() / perBlock);
    tableClusters = Math.ceil((blocks * 8) / clusterBytes);
  }

  const view = new DataView(new ArrayBuffer(total() * clusterBytes));
  const tableOffset = clusterBytes;
  const blocksOffset = tableOffset + tableClusters * clusterBytes;
  for (let i = 0; i < blocks; i++) view.setBigUint64(tableOffset + i * 8, BigInt(blocksOffset + i * clusterBytes));
  for (let i = 0; i < total(); i++) view.setUint16(blocksOffset + i * 2, 1);

  view.setUint32(0, QCOW2_MAGIC);
  view.setUint32(4, 3);
  view.setUint32(20, clusterBits);
  view.setBigUint64(24, BigInt(sizeBytes));
  view.setUint32(36, l1Entries);
  view.setBigUint64(40, BigInt(blocksOffset + blocks * clusterBytes));
  view.setBigUint64(48, BigInt(tableOffset));
  view.setUint32(56, tableClusters);
  view.setUint32(96, REFCOUNT_ORDER);
  view.setUint32(100, HEADER_BYTES);
  if (backing !== undefined) putBacking(view, clusterBytes, backing);
  return new Uint8Array(view.buffer);
}

const BACKING_FORMAT = 0xe2792aca;

/** The format as a header extension, an empty extension that ends them, and the name behind it. */
function putBacking(view: DataView, clusterBytes: number, backing: NonNullable<CreateQcow2Options["backing"]>): void {
  const bytes = new Uint8Array(view.buffer);
  const name = Buffer.from(backing.name);
  const format = Buffer.from(backing.format);
  const nameOffset = HEADER_BYTES + 8 + Math.ceil(format.length / 8) * 8 + 8;
  if (name.length === 0 || name.length > 1023 || nameOffset + name.length > clusterBytes) {
    throw new DiskError("EINVAL", `a backing file name of ${name.length} bytes does not fit into the image's header`);
  }
  view.setUint32(HEADER_BYTES, BACKING_FORMAT);
  view.setUint32(HEADER_BYTES + 4, format.length);
  bytes.set(format, HEADER_BYTES + 8);
  bytes.set(name, nameOffset);
  view.setBigUint64(8, BigInt(nameOffset));
  view.setUint32(16, name.length);
}
