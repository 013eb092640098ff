/**
 * Where each cluster of the guest's disk lies in the image's file: the active L1 table and its L2 tables (QEMU,
 * docs/interop/qcow2.txt, "Cluster mapping"). Changes stay in memory until they are written; qcow2-disk.ts says when.
 */
import { DiskError } from "../errors.js";
import type { HostFile } from "../host-file.js";
import type { Qcow2Header } from "./header.js";
import { type Table, TableCache } from "./table-cache.js";

/**
 * - `data`: at `hostOffset`
 * - `zero`: reads as zeros; `hostOffset` is space that it may keep, or 0
 * - `unallocated`: reads as the backing file, or zeros
 * - `compressed`: see compressedAt()
 */
export type ExtentKind = "data" | "zero" | "unallocated" | "compressed";

/** Guest clusters that follow each other, of one kind, and together in the file if they are there at all. */
export interface Extent {
  readonly kind: ExtentKind;
  /** Where the first of them begins in the file; 0 when it is not there. */
  readonly hostOffset: number;
  /** True when nobody else, such as a snapshot, uses these clusters of the file: they may be written in place. */
  readonly copied: boolean;
  readonly clusters: number;
}

export interface CompressedRange {
  readonly hostOffset: number;
  readonly lengthBytes: number;
}

/** High words of L1 and L2 entries. */
const COPIED = 0x80000000;
const COMPRESSED = 0x40000000;
/** Low word of an L2 entry: the cluster reads as zeros. */
const ZERO = 1;

/** Bits 9 to 55 of an entry. Beyond 2^53 low bits are lost; such an offset is beyond the end of any file. */
function offsetOf(high: number, low: number): number {
  return (high & 0x00ffffff) * 2 ** 32 + ((low & 0xfffffe00) >>> 0);
}

function setEntry(view: DataView, index: number, offset: number, highFlags: number, lowFlags: number): void {
  view.setUint32(index * 8, (Math.floor(offset / 2 ** 32) | highFlags) >>> 0);
  view.setUint32(index * 8 + 4, ((offset >>> 0) | lowFlags) >>> 0);
}

export class ClusterMap {
  readonly #file: HostFile;
  readonly #header: Qcow2Header;
  readonly #clusterBytes: number;
  readonly #entriesPerTable: number;
  readonly #l1: DataView;
  readonly #changedL1 = new Set<number>();
  readonly #tables: TableCache;

  /** @param o.writeBack asked when memory is full of changed L2 tables: afterwards they must have been written */
  constructor(file: HostFile, header: Qcow2Header, o: { cacheBytes: number; writeBack: () => void }) {
    this.#file = file;
    this.#header = header;
    this.#clusterBytes = header.clusterBytes;
    this.#entriesPerTable = header.clusterBytes / 8;
    const l1 = new Uint8Array(header.l1Entries * 8);
    file.readv(header.l1TableOffset, [l1]);
    this.#l1 = new DataView(l1.buffer);
    this.#tables = new TableCache(file, {
      clusterBytes: header.clusterBytes,
      capacityBytes: o.cacheBytes,
      writeBack: o.writeBack,
    });
  }

  get isDirty(): boolean {
    return this.#tables.isDirty || this.#changedL1.size > 0;
  }

  /** File offsets of all L2 tables. */
  *tableOffsets(): Generator<number> {
    for (let i = 0; i < this.#header.l1Entries; i++) {
      const offset = this.#l1Offset(i);
      if (offset !== 0) yield offset;
    }
  }

  /**
   * What the guest's clusters from `cluster` on are, at most `most` of them, as far as they are alike.
   * @throws DiskError EIO for an entry that cannot be
   */
  extentAt(cluster: number, most: number): Extent {
    const index = cluster % this.#entriesPerTable;
    const room = Math.min(most, this.#entriesPerTable - index);
    const table = this.#tableFor(cluster);
    if (table === undefined) return { kind: "unallocated", hostOffset: 0, copied: false, clusters: room };
    const { view } = table;
    const [high, low] = [view.getUint32(index * 8), view.getUint32(index * 8 + 4)];
    const kind = this.#kindOf(high, low, cluster);
    if (kind === "compressed") return { kind, hostOffset: 0, copied: false, clusters: 1 };
    const hostOffset = offsetOf(high, low);
    if (hostOffset % this.#clusterBytes !== 0) this.#damaged(cluster, `at ${hostOffset}, which is no cluster's start`);
    // An entry of clusters that follow differs in its offset alone.
    let clusters = 1;
    let expected = hostOffset;
    for (; clusters < room; clusters++) {
      const at = (index + clusters) * 8;
      if (hostOffset !== 0) expected += this.#clusterBytes;
      const [nextHigh, nextLow] = [view.getUint32(at), view.getUint32(at + 4)];
      if (offsetOf(nextHigh, nextLow) !== expected) break;
      if (((nextHigh ^ high) & (COPIED | COMPRESSED)) !== 0 || ((nextLow ^ low) & ZERO) !== 0) break;
    }
    const end = hostOffset + (clusters - 1) * this.#clusterBytes;
    if (hostOffset !== 0 && end >= this.#file.endBytes) this.#damaged(cluster, `at ${end}, beyond the end of the file`);
    return { kind, hostOffset, copied: (high & COPIED) !== 0 && hostOffset !== 0, clusters };
  }

  #kindOf(high: number, low: number, cluster: number): ExtentKind {
    if ((high & COMPRESSED) !== 0) return "compressed";
    if ((low & ZERO) !== 0) {
      if (this.#header.version === 2) this.#damaged(cluster, "marked as zeros, which version 2 does not know");
      return "zero";
    }
    if (offsetOf(high, low) !== 0) return "data";
    if ((high & COPIED) !== 0) this.#damaged(cluster, "at 0, where the header is");
    return "unallocated";
  }

  /** Where the bytes of a compressed cluster are: whole sectors of 512, the last of which may be shared. */
  compressedAt(cluster: number): CompressedRange {
    const entry = this.#tableFor(cluster)!.view.getBigUint64((cluster % this.#entriesPerTable) * 8);
    const offsetBits = BigInt(62 - (this.#header.clusterBits - 8));
    const hostOffset = Number(entry & ((1n << offsetBits) - 1n));
    const sectors = Number((entry & ((1n << 62n) - 1n)) >> offsetBits) + 1;
    if (hostOffset === 0 || hostOffset >= this.#file.endBytes)
      this.#damaged(cluster, `at ${hostOffset}, outside the file`);
    return { hostOffset, lengthBytes: sectors * 512 - (hostOffset % 512) };
  }

  /** Whether there is an L2 table for this cluster that may be changed in place. */
  hasOwnTable(cluster: number): boolean {
    const i = Math.floor(cluster / this.#entriesPerTable);
    return this.#l1Offset(i) !== 0 && (this.#l1.getUint32(i * 8) & COPIED) !== 0;
  }

  /**
   * Gives a cluster's entries an L2 table of their own, in a cluster of the file that was allocated for it: a new one, or a copy of one that
   * somebody else, such as a snapshot, uses too. Returns the offset of the latter, or 0.
   */
  replaceTable(cluster: number, hostOffset: number): number {
    const i = Math.floor(cluster / this.#entriesPerTable);
    const old = this.#tableFor(cluster);
    this.#tables.create(hostOffset, old);
    setEntry(this.#l1, i, hostOffset, COPIED, 0);
    this.#changedL1.add(i);
    return old?.offset ?? 0;
  }

  /** The cluster's data is at `hostOffset`, and nobody else's. It has a table of its own. */
  setData(cluster: number, hostOffset: number): void {
    this.#set(cluster, hostOffset, COPIED, 0);
  }

  /** The cluster reads as zeros; it keeps the space at `hostOffset`, unless that is 0. */
  setZero(cluster: number, hostOffset: number): void {
    this.#set(cluster, hostOffset, hostOffset === 0 ? 0 : COPIED, ZERO);
  }

  setUnallocated(cluster: number): void {
    this.#set(cluster, 0, 0, 0);
  }

  /** Writes L2 tables. */
  writeTables(): void {
    this.#tables.write();
  }

  get isL1Dirty(): boolean {
    return this.#changedL1.size > 0;
  }

  /** Writes the L1 table's changed entries; the L2 tables that they name must be in the file. */
  writeL1(): void {
    for (const i of this.#changedL1) {
      this.#file.writev(this.#header.l1TableOffset + i * 8, [new Uint8Array(this.#l1.buffer, i * 8, 8)]);
    }
    this.#changedL1.clear();
  }

  #set(cluster: number, hostOffset: number, highFlags: number, lowFlags: number): void {
    const table = this.#tableFor(cluster)!;
    setEntry(table.view, cluster % this.#entriesPerTable, hostOffset, highFlags, lowFlags);
    this.#tables.markDirty(table);
  }

  #l1Offset(i: number): number {
    return offsetOf(this.#l1.getUint32(i * 8), this.#l1.getUint32(i * 8 + 4));
  }

  #tableFor(cluster: number): Table | undefined {
    const i = Math.floor(cluster / this.#entriesPerTable);
    const offset = this.#l1Offset(i);
    return offset === 0 ? undefined : this.#tables.get(offset, `L2 table ${i}`);
  }

  #damaged(cluster: number, how: string): never {
    throw new DiskError("EIO", `${this.#file.path} is damaged: cluster ${cluster} of the disk is ${how}`);
  }
}
