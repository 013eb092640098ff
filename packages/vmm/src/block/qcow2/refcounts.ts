/**
 * How often each cluster of an image is used (QEMU, docs/interop/qcow2.txt, "Host cluster management"), and so where there is room.
 *
 * Changes stay in memory until write(), which has an order: a new refcount block is in the file before the table names it, a new
 * table before the header does. That a count rises before somebody refers to the cluster, and falls after nobody does, is the caller's part.
 */
import { DiskError } from "../errors.js";
import type { HostFile } from "../host-file.js";
import { HEADER_FIELD, MOST_REFCOUNT_TABLE_BYTES, type Qcow2Header } from "./header.js";
import type { MetadataClusters } from "./metadata-clusters.js";
import { type Table, TableCache } from "./table-cache.js";

/** A run of clusters, by their numbers in the image's file. */
export interface ClusterRun {
  readonly first: number;
  readonly count: number;
}

const CACHE_BYTES = 4 * 2 ** 20;

/** The refcount table of an image: where its refcount blocks lie, 0 for those that do not exist. */
export function readRefcountTable(file: HostFile, header: Qcow2Header): Float64Array {
  const bytes = new Uint8Array(header.refcountTableClusters * header.clusterBytes);
  file.readv(header.refcountTableOffset, [bytes]);
  const view = new DataView(bytes.buffer);
  // Entries beyond 2^53 lose low bits here; they are beyond the end of any file, and refused when they are used.
  return Float64Array.from({ length: bytes.length / 8 }, (_, i) => Number(view.getBigUint64(i * 8) & ~0x1ffn));
}

export class Refcounts {
  readonly #file: HostFile;
  readonly #clusterBytes: number;
  readonly #order: number;
  readonly #entriesPerBlock: number;
  readonly #metadata: MetadataClusters;
  readonly #blocks: TableCache;
  #table: Float64Array;
  #tableRun: ClusterRun;
  /** Entries of the table that the file does not have yet. */
  readonly #changed = new Set<number>();
  #moved = false;
  /** Tables that a larger one has replaced; free once the header no longer names them. */
  #replaced: ClusterRun[] = [];
  /** No cluster below it is free. */
  #firstFree = 0;

  constructor(file: HostFile, header: Qcow2Header, table: Float64Array, metadata: MetadataClusters) {
    this.#file = file;
    this.#clusterBytes = header.clusterBytes;
    this.#order = header.refcountOrder;
    this.#entriesPerBlock = (header.clusterBytes * 8) / 2 ** header.refcountOrder;
    this.#metadata = metadata;
    this.#table = table;
    this.#tableRun = {
      first: header.refcountTableOffset / header.clusterBytes,
      count: header.refcountTableClusters,
    };
    const { clusterBytes } = header;
    this.#blocks = new TableCache(file, {
      clusterBytes,
      capacityBytes: CACHE_BYTES,
      writeBack: () => this.#blocks.write(),
    });
  }

  /** True while the file does not have everything yet. */
  get isDirty(): boolean {
    return this.#blocks.isDirty || this.#changed.size > 0 || this.#moved;
  }

  /** How often a cluster is used; 0 is free. Counts beyond 2^53 come out rounded. */
  get(cluster: number): number {
    const block = this.#existingBlock(Math.floor(cluster / this.#entriesPerBlock));
    return block === undefined ? 0 : readCount(block.view, cluster % this.#entriesPerBlock, this.#order);
  }

  /**
   * Takes free clusters that lie together, at least one and at most `most`: their counts become 1.
   * @throws DiskError EFBIG when the image cannot be larger, EIO when its tables contradict each other
   */
  allocate(most: number): ClusterRun {
    for (;;) {
      const blockIndex = Math.floor(this.#firstFree / this.#entriesPerBlock);
      const block = this.#existingBlock(blockIndex) ?? this.#createBlock(blockIndex);
      const base = blockIndex * this.#entriesPerBlock;
      let entry = this.#firstFree - base;
      while (entry < this.#entriesPerBlock && readCount(block.view, entry, this.#order) !== 0) entry++;
      this.#firstFree = base + entry;
      if (entry === this.#entriesPerBlock) continue;
      let end = entry + 1;
      while (end < this.#entriesPerBlock && end - entry < most && readCount(block.view, end, this.#order) === 0) end++;
      const run = { first: base + entry, count: end - entry };
      this.#metadata.checkNone(run.first, run.count);
      for (let i = entry; i < end; i++) writeCount(block.view, i, this.#order, 1);
      this.#blocks.markDirty(block);
      this.#firstFree = base + end;
      return run;
    }
  }

  /** One user of a cluster less. Returns true when it was the last: the cluster is free. */
  release(cluster: number): boolean {
    const block = this.#existingBlock(Math.floor(cluster / this.#entriesPerBlock));
    const entry = cluster % this.#entriesPerBlock;
    // A count of zero for a cluster in use is damage that the image came with; to free it again would do no good.
    if (block === undefined || !decrementCount(block.view, entry, this.#order)) return false;
    this.#blocks.markDirty(block);
    if (readCount(block.view, entry, this.#order) !== 0) return false;
    this.#firstFree = Math.min(this.#firstFree, cluster);
    return true;
  }

  /** Brings everything into the file, in order. Returns what has become free by it: to be released once that is durable. */
  write(): ClusterRun[] {
    this.#blocks.write();
    if (this.#changed.size > 0 || this.#moved) {
      if (this.#moved) this.#writeWholeTable();
      this.#file.flush();
      if (this.#moved) this.#writeHeader();
      else this.#writeChangedEntries();
      this.#moved = false;
      this.#changed.clear();
    }
    const replaced = this.#replaced;
    this.#replaced = [];
    return replaced;
  }

  #existingBlock(index: number): Table | undefined {
    const offset = this.#table[index] ?? 0;
    return offset === 0 ? undefined : this.#blocks.get(offset, `refcount block ${index}`);
  }

  /** A block that does not exist counts nothing but free clusters, so the first of them can hold it. */
  #createBlock(index: number): Table {
    if (index >= this.#table.length) this.#growTable(index);
    else this.#addBlock(index, index * this.#entriesPerBlock);
    const first = this.#existingBlock(index)!;
    if (readCount(first.view, 0, this.#order) === 0) {
      writeCount(first.view, 0, this.#order, 1);
      this.#blocks.markDirty(first);
    }
    return first;
  }

  #addBlock(index: number, cluster: number): void {
    this.#metadata.add(cluster);
    this.#blocks.create(cluster * this.#clusterBytes);
    this.#table[index] = cluster * this.#clusterBytes;
    this.#changed.add(index);
  }

  /**
   * A larger table, for a block that the present one has no entry for. Everything from that block's first cluster on is free: there lie
   * the new blocks, as many as they and the table need to be counted, and then the table.
   */
  #growTable(index: number): void {
    const perBlock = this.#entriesPerBlock;
    let [blocks, tableClusters] = [1, 0];
    for (;;) {
      const entries = Math.max(Math.ceil(this.#table.length * 1.5), index + blocks);
      tableClusters = Math.ceil((entries * 8) / this.#clusterBytes);
      const needed = Math.ceil((blocks + tableClusters) / perBlock);
      if (needed <= blocks) break;
      blocks = needed;
    }
    if (tableClusters * this.#clusterBytes > MOST_REFCOUNT_TABLE_BYTES) {
      throw new DiskError("EFBIG", `${this.#file.path} is as large as its cluster size allows`);
    }
    const first = index * perBlock;
    const grown = new Float64Array((tableClusters * this.#clusterBytes) / 8);
    grown.set(this.#table);
    this.#metadata.checkNone(first, blocks + tableClusters);
    this.#table = grown;
    this.#replaced.push(this.#tableRun);
    this.#tableRun = { first: first + blocks, count: tableClusters };
    this.#metadata.moveRefcountTable(this.#tableRun);
    this.#moved = true;
    for (let i = 0; i < blocks; i++) this.#addBlock(index + i, first + i);
    for (let cluster = first; cluster < first + blocks + tableClusters; cluster++) {
      const block = this.#existingBlock(Math.floor(cluster / perBlock))!;
      writeCount(block.view, cluster % perBlock, this.#order, 1);
      this.#blocks.markDirty(block);
    }
  }

  #writeWholeTable(): void {
    const view = new DataView(new ArrayBuffer(this.#table.length * 8));
    for (const [i, offset] of this.#table.entries()) view.setBigUint64(i * 8, BigInt(offset));
    this.#file.writev(this.#tableRun.first * this.#clusterBytes, [new Uint8Array(view.buffer)]);
  }

  /** Offset and length of the table, which stand side by side, in one write. */
  #writeHeader(): void {
    const view = new DataView(new ArrayBuffer(12));
    view.setBigUint64(0, BigInt(this.#tableRun.first * this.#clusterBytes));
    view.setUint32(8, this.#tableRun.count);
    this.#file.writev(HEADER_FIELD.refcountTableOffset, [new Uint8Array(view.buffer)]);
  }

  #writeChangedEntries(): void {
    for (const index of this.#changed) {
      const view = new DataView(new ArrayBuffer(8));
      view.setBigUint64(0, BigInt(this.#table[index]!));
      this.#file.writev(this.#tableRun.first * this.#clusterBytes + index * 8, [new Uint8Array(view.buffer)]);
    }
  }
}

/** Entry `i` of a block of counts of 2^order bits; those of less than a byte begin at the byte's least significant bit. */
function readCount(view: DataView, i: number, order: number): number {
  switch (order) {
    case 3:
      return view.getUint8(i);
    case 4:
      return view.getUint16(i * 2);
    case 5:
      return view.getUint32(i * 4);
    case 6:
      return view.getUint32(i * 8) * 2 ** 32 + view.getUint32(i * 8 + 4);
    default: {
      const bits = 1 << order;
      const bit = i * bits;
      return (view.getUint8(bit >>> 3) >>> (bit & 7)) & ((1 << bits) - 1);
    }
  }
}

function writeCount(view: DataView, i: number, order: number, count: number): void {
  if (order === 6) view.setBigUint64(i * 8, BigInt(count));
  else if (order === 5) view.setUint32(i * 4, count);
  else if (order === 4) view.setUint16(i * 2, count);
  else if (order === 3) view.setUint8(i, count);
  else {
    const bits = 1 << order;
    const bit = i * bits;
    const mask = ((1 << bits) - 1) << (bit & 7);
    view.setUint8(bit >>> 3, (view.getUint8(bit >>> 3) & ~mask) | (count << (bit & 7)));
  }
}

/** False when the count is zero already. */
function decrementCount(view: DataView, i: number, order: number): boolean {
  if (readCount(view, i, order) === 0) return false;
  if (order === 6) view.setBigUint64(i * 8, view.getBigUint64(i * 8) - 1n);
  else writeCount(view, i, order, readCount(view, i, order) - 1);
  return true;
}
