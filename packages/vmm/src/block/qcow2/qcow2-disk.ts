/** A qcow2 image as a disk: what the guest reads comes from its clusters or from its backing file, what it writes goes to clusters of its own. */
import { BufferCursor, scatter, totalBytes, zeros } from "../buffers.js";
import type { DiskImage } from "../disk-image.js";
import { checkRange, DiskError } from "../errors.js";
import type { HostFile } from "../host-file.js";
import type { Extent } from "./cluster-map.js";
import { CompressedClusters, checkCompression } from "./compressed.js";
import type { Qcow2Header } from "./header.js";
import { Metadata } from "./metadata.js";

/** Memory for L2 tables: 32 MiB of them map 256 GiB in clusters of 64 KiB. */
const CACHE_BYTES = 32 * 2 ** 20;
const BACKING_CACHE_BYTES = 4 * 2 ** 20;

export interface Qcow2Options {
  /** What shows where the image has nothing; closed with it. */
  readonly backing?: DiskImage;
  /** The image is itself a backing file: it gets less memory. */
  readonly isBacking?: boolean;
}

/** An extent, cut to a range of the guest's disk. */
interface Piece extends Extent {
  /** Bytes of the range, which may begin and end inside a cluster. */
  readonly lengthBytes: number;
  /** Where the first byte of the range lies in the file, when the extent lies there. */
  readonly hostAt: number;
}

export class Qcow2Disk implements DiskImage {
  readonly sizeBytes: number;
  readonly readonly: boolean;
  readonly #file: HostFile;
  readonly #header: Qcow2Header;
  readonly #clusterBytes: number;
  readonly #backing: DiskImage | undefined;
  readonly #metadata: Metadata;
  readonly #compressed: CompressedClusters;
  /** Two clusters, for what stands before and after the guest's bytes in clusters that it writes in part. */
  #edges: Uint8Array | undefined;
  #closed = false;

  /**
   * @param file open for reading only when the disk is to be read only
   * @param header what parseHeader() made of it
   * @throws DiskError EIO when the image's tables contradict each other; EROFS when it may not be written
   */
  constructor(file: HostFile, header: Qcow2Header, options: Qcow2Options = {}) {
    this.#file = file;
    this.#header = header;
    this.sizeBytes = header.sizeBytes;
    this.readonly = file.readonly;
    this.#clusterBytes = header.clusterBytes;
    this.#backing = options.backing;
    checkCompression(header);
    if (!this.readonly) refuseToWrite(file.path, header);
    this.#metadata = new Metadata(file, header, {
      readonly: this.readonly,
      cacheBytes: options.isBacking === true ? BACKING_CACHE_BYTES : CACHE_BYTES,
    });
    this.#compressed = new CompressedClusters(file, header);
  }

  readv(offset: number, into: readonly Uint8Array[]): void {
    const length = totalBytes(into);
    checkRange(offset, length, this.sizeBytes);
    const first = length === 0 ? undefined : this.#pieceAt(offset, offset + length);
    if (first === undefined) return;
    if (first.lengthBytes === length) {
      this.#readPiece(offset, first, into);
      return;
    }
    const cursor = new BufferCursor(into);
    for (let at = offset; at < offset + length; ) {
      const piece = this.#pieceAt(at, offset + length);
      this.#readPiece(at, piece, cursor.take(piece.lengthBytes));
      at += piece.lengthBytes;
    }
  }

  writev(offset: number, from: readonly Uint8Array[]): void {
    const length = totalBytes(from);
    this.#beforeWrite(offset, length);
    const cursor = new BufferCursor(from);
    for (let at = offset; at < offset + length; ) {
      const piece = this.#pieceAt(at, offset + length);
      if (piece.kind === "data" && piece.copied) {
        this.#metadata.checkData(piece.hostOffset, piece.clusters);
        this.#file.writev(piece.hostAt, cursor.take(piece.lengthBytes));
        at += piece.lengthBytes;
      } else {
        at += this.#writeNew(at, piece, cursor);
      }
    }
  }

  flush(): void {
    if (this.readonly) return;
    this.#metadata.commit();
    this.#file.flush();
  }

  discard(offset: number, lengthBytes: number): void {
    this.#beforeWrite(offset, lengthBytes);
    const [first, end] = this.#wholeClusters(offset, lengthBytes);
    this.#eachExtent(first, end, (cluster, extent) => {
      // Version 2 cannot say that a cluster is zeros, and without an entry the backing file would show again.
      const covers = this.#backingCovers(cluster);
      if (covers && this.#header.version === 2) return;
      if (extent.hostOffset === 0 && extent.kind !== "compressed" && this.#readsAsZeros(cluster, extent)) return;
      this.#dropClusters(cluster, extent, covers);
    });
  }

  writeZeroes(offset: number, lengthBytes: number, mayUnmap: boolean): void {
    this.#beforeWrite(offset, lengthBytes);
    const [first, end] = this.#wholeClusters(offset, lengthBytes);
    const rangeEnd = offset + lengthBytes;
    if (first >= end) {
      this.#writeZeroBytes(offset, rangeEnd);
      return;
    }
    this.#writeZeroBytes(offset, first * this.#clusterBytes);
    this.#eachExtent(first, end, (cluster, extent) => this.#zeroClusters(cluster, extent, mayUnmap));
    this.#writeZeroBytes(end * this.#clusterBytes, rangeEnd);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.flush();
    } finally {
      this.#file.close();
      this.#backing?.close();
    }
  }

  #beforeWrite(offset: number, lengthBytes: number): void {
    if (this.readonly) throw new DiskError("EROFS", `${this.#file.path} was opened for reading only`);
    checkRange(offset, lengthBytes, this.sizeBytes);
    this.#metadata.beforeChange();
    this.#metadata.relieve();
  }

  /** What lies at `offset`, as far as it is alike, up to `end`. */
  #pieceAt(offset: number, end: number): Piece {
    const cluster = Math.floor(offset / this.#clusterBytes);
    const within = offset - cluster * this.#clusterBytes;
    const extent = this.#metadata.map.extentAt(cluster, Math.ceil(end / this.#clusterBytes) - cluster);
    const lengthBytes = Math.min(end - offset, extent.clusters * this.#clusterBytes - within);
    return { ...extent, lengthBytes, hostAt: extent.hostOffset + within };
  }

  #readPiece(offset: number, piece: Piece, into: readonly Uint8Array[]): void {
    switch (piece.kind) {
      case "data":
        this.#file.readv(piece.hostAt, into);
        return;
      case "zero":
        for (const buffer of into) buffer.fill(0);
        return;
      case "compressed": {
        const cluster = Math.floor(offset / this.#clusterBytes);
        const bytes = this.#compressed.read(this.#metadata.map.compressedAt(cluster));
        scatter(bytes.subarray(offset - cluster * this.#clusterBytes), into);
        return;
      }
      case "unallocated":
        this.#readBacking(offset, piece.lengthBytes, into);
    }
  }

  #readBacking(offset: number, lengthBytes: number, into: readonly Uint8Array[]): void {
    const inside = Math.max(0, Math.min(lengthBytes, (this.#backing?.sizeBytes ?? 0) - offset));
    const cursor = new BufferCursor(into);
    if (inside > 0) this.#backing?.readv(offset, cursor.take(inside));
    for (const beyond of cursor.take(lengthBytes - inside)) beyond.fill(0);
  }

  #backingCovers(cluster: number): boolean {
    return this.#backing !== undefined && cluster * this.#clusterBytes < this.#backing.sizeBytes;
  }

  #readsAsZeros(cluster: number, extent: Extent): boolean {
    return extent.kind === "zero" || (extent.kind === "unallocated" && !this.#backingCovers(cluster));
  }

  /**
   * Writes a range whose clusters the image has not, or has to share, or has compressed: to new clusters, around the guest's bytes
   * what was there before. Returns how many bytes it wrote.
   */
  #writeNew(offset: number, piece: Piece, cursor: BufferCursor): number {
    const { map } = this.#metadata;
    const clusterBytes = this.#clusterBytes;
    const cluster = Math.floor(offset / clusterBytes);
    this.#metadata.ownTable(cluster);
    const reserved = piece.kind === "zero" && piece.copied;
    const most = Math.ceil((offset + piece.lengthBytes) / clusterBytes) - cluster;
    if (reserved) this.#metadata.checkData(piece.hostOffset, most);
    const run = reserved ? { first: piece.hostOffset / clusterBytes, count: most } : this.#metadata.allocate(most);
    const start = cluster * clusterBytes;
    const end = Math.min(offset + piece.lengthBytes, start + run.count * clusterBytes);
    const hostStart = run.first * clusterBytes;
    try {
      // A file that ends before the new clusters reads as zeros around what is written to them.
      if (hostStart >= this.#file.endBytes && this.#readsAsZeros(cluster, piece)) {
        this.#file.writev(hostStart + offset - start, cursor.take(end - offset));
      } else {
        const before = this.#edge(0, start, offset);
        const after = this.#edge(1, end, start + run.count * clusterBytes);
        this.#file.writev(hostStart, [before, ...cursor.take(end - offset), after]);
      }
    } catch (error) {
      if (!reserved) this.#metadata.giveBack(run);
      throw error;
    }
    for (let i = 0; i < run.count; i++) {
      if (!reserved) this.#releaseHost(cluster + i, piece, i, false);
      map.setData(cluster + i, hostStart + i * clusterBytes);
    }
    return end - offset;
  }

  /** What the disk has in a part of a cluster. Beyond the disk's end are zeros. */
  #edge(which: 0 | 1, from: number, to: number): Uint8Array {
    if (from === to) return NOTHING;
    this.#edges ??= new Uint8Array(2 * this.#clusterBytes);
    const bytes = this.#edges.subarray(which * this.#clusterBytes).subarray(0, to - from);
    const inside = Math.max(0, Math.min(to, this.sizeBytes) - from);
    this.readv(from, [bytes.subarray(0, inside)]);
    bytes.fill(0, inside);
    return bytes;
  }

  /** The i-th cluster of an extent no longer needs what it has in the file. */
  #releaseHost(cluster: number, extent: Extent, i: number, punch: boolean): void {
    const clusterBytes = this.#clusterBytes;
    if (extent.kind === "compressed") {
      const { hostOffset, lengthBytes } = this.#metadata.map.compressedAt(cluster);
      const first = Math.floor(hostOffset / clusterBytes);
      this.#metadata.release(
        { first, count: Math.floor((hostOffset + lengthBytes - 1) / clusterBytes) - first + 1 },
        punch,
      );
    } else if (extent.hostOffset !== 0) {
      this.#metadata.release({ first: extent.hostOffset / clusterBytes + i, count: 1 }, punch);
    }
  }

  /** The clusters that lie in a range as a whole: first, and the one after the last. The disk's last may be a part of one. */
  #wholeClusters(offset: number, lengthBytes: number): [first: number, end: number] {
    const end = offset + lengthBytes;
    return [
      Math.ceil(offset / this.#clusterBytes),
      end === this.sizeBytes ? Math.ceil(end / this.#clusterBytes) : Math.floor(end / this.#clusterBytes),
    ];
  }

  /** Extents of clusters that are alike, also in whether there is anything of the backing file under them. */
  #eachExtent(first: number, end: number, act: (cluster: number, extent: Extent) => void): void {
    const backedEnd = Math.ceil((this.#backing?.sizeBytes ?? 0) / this.#clusterBytes);
    for (let cluster = first; cluster < end; ) {
      const roof = cluster < backedEnd ? Math.min(end, backedEnd) : end;
      const extent = this.#metadata.map.extentAt(cluster, roof - cluster);
      act(cluster, extent);
      cluster += extent.clusters;
      this.#metadata.relieve();
    }
  }

  /** Takes clusters out of the image; they read as zeros then. */
  #dropClusters(cluster: number, extent: Extent, markAsZeros: boolean): void {
    const { map } = this.#metadata;
    this.#metadata.ownTable(cluster);
    for (let i = 0; i < extent.clusters; i++) {
      this.#releaseHost(cluster + i, extent, i, true);
      if (markAsZeros) map.setZero(cluster + i, 0);
      else map.setUnallocated(cluster + i);
    }
  }

  #zeroClusters(cluster: number, extent: Extent, mayUnmap: boolean): void {
    if (this.#readsAsZeros(cluster, extent)) return;
    const keepsSpace = !mayUnmap && extent.kind === "data" && extent.copied;
    if (this.#header.version === 2 && (keepsSpace || this.#backingCovers(cluster))) {
      const start = cluster * this.#clusterBytes;
      this.#writeZeroBytes(start, Math.min(this.sizeBytes, start + extent.clusters * this.#clusterBytes));
    } else if (!keepsSpace) {
      this.#dropClusters(cluster, extent, this.#header.version === 3);
    } else {
      this.#metadata.ownTable(cluster);
      for (let i = 0; i < extent.clusters; i++) {
        this.#metadata.map.setZero(cluster + i, extent.hostOffset + i * this.#clusterBytes);
      }
    }
  }

  /** Zeros as data, but not over what reads as zeros already. */
  #writeZeroBytes(offset: number, end: number): void {
    while (offset < end) {
      const piece = this.#pieceAt(offset, Math.min(end, offset + ZERO_WRITE_BYTES));
      if (!this.#readsAsZeros(Math.floor(offset / this.#clusterBytes), piece)) {
        this.writev(offset, zeros(piece.lengthBytes));
      }
      offset += piece.lengthBytes;
    }
  }
}

const NOTHING = new Uint8Array();
const ZERO_WRITE_BYTES = 2 ** 20;

function refuseToWrite(path: string, { dirty, corrupt }: Qcow2Header): void {
  if (corrupt)
    throw new DiskError("EROFS", `${path} is marked as damaged: qemu-img check -r all may mend it; it can be read`);
  if (dirty) {
    throw new DiskError(
      "EROFS",
      `${path} was not closed by its last writer, and its refcounts are old: qemu-img check -r all mends that; it can be read`,
    );
  }
}
