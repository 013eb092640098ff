/**
 * An image's tables together, and the order in which changes of them reach the file, so that a power cut at any point leaves at
 * worst clusters that nobody uses:
 *
 *   data and risen counts  |  L2 tables  |  L1 entries  |  fallen counts
 *
 * where a bar is a flush. A count that falls does so, even in memory, only when nothing in the file refers to the cluster any more: so
 * nobody else can get that cluster before.
 */
import type { HostFile } from "../host-file.js";
import { ClusterMap } from "./cluster-map.js";
import { HEADER_FIELD, type Qcow2Header } from "./header.js";
import { MetadataClusters } from "./metadata-clusters.js";
import { type ClusterRun, Refcounts, readRefcountTable } from "./refcounts.js";

interface Release extends ClusterRun {
  /** Give the space back to the file system, too. */
  readonly punch: boolean;
}

/** So many runs of clusters may wait for the moment at which they become free. */
const MOST_RELEASES = 4096;

export class Metadata {
  readonly map: ClusterMap;
  readonly #file: HostFile;
  readonly #clusterBytes: number;
  readonly #clusters: MetadataClusters | undefined;
  readonly #refcounts: Refcounts | undefined;
  #releases: Release[] = [];
  #mustClearAutoclear: boolean;

  constructor(file: HostFile, header: Qcow2Header, o: { readonly: boolean; cacheBytes: number }) {
    this.#file = file;
    this.#clusterBytes = header.clusterBytes;
    this.#mustClearAutoclear = header.hasAutoclearFeatures;
    this.map = new ClusterMap(file, header, { cacheBytes: o.cacheBytes, writeBack: () => this.commit() });
    if (o.readonly) return;
    const table = readRefcountTable(file, header);
    this.#clusters = this.#findTables(header, table);
    this.#refcounts = new Refcounts(file, header, table, this.#clusters);
  }

  #findTables(header: Qcow2Header, refcountTable: Float64Array): MetadataClusters {
    const { clusterBytes } = header;
    const l1Table = {
      first: header.l1TableOffset / clusterBytes,
      count: Math.ceil((header.l1Entries * 8) / clusterBytes),
    };
    const clusters = new MetadataClusters(this.#file.path, l1Table, {
      first: header.refcountTableOffset / clusterBytes,
      count: header.refcountTableClusters,
    });
    for (const offset of refcountTable) if (offset !== 0) clusters.add(offset / clusterBytes);
    for (const offset of this.map.tableOffsets()) clusters.add(offset / clusterBytes);
    return clusters;
  }

  /** To be called before the first change: features that this implementation does not maintain lose their validity, durably. */
  beforeChange(): void {
    if (!this.#mustClearAutoclear) return;
    this.#file.writev(HEADER_FIELD.autoclearFeatures, [new Uint8Array(8)]);
    this.#file.flush();
    this.#mustClearAutoclear = false;
  }

  /** Clusters for data, at least one and at most `most`, together in the file. */
  allocate(most: number): ClusterRun {
    return this.#refcounts!.allocate(most);
  }

  /** Gives clusters back that nothing refers to yet, and the space of what was written to them: a full file system may need it. */
  giveBack(run: ClusterRun): void {
    for (let i = 0; i < run.count; i++) this.#refcounts!.release(run.first + i);
    this.#punch(run.first, run.count);
  }

  /** Clusters lose a user once the tables that say so are in the file. */
  release(run: ClusterRun, punch: boolean): void {
    const last = this.#releases.at(-1);
    if (last !== undefined && last.first + last.count === run.first && last.punch === punch) {
      this.#releases[this.#releases.length - 1] = { first: last.first, count: last.count + run.count, punch };
    } else {
      this.#releases.push({ ...run, punch });
    }
  }

  /** Makes sure that the guest's cluster has an L2 table that may be changed. */
  ownTable(cluster: number): void {
    if (this.map.hasOwnTable(cluster)) return;
    const run = this.allocate(1);
    try {
      this.#clusters!.add(run.first);
      const replaced = this.map.replaceTable(cluster, run.first * this.#clusterBytes);
      if (replaced === 0) return;
      this.#clusters!.delete(replaced / this.#clusterBytes);
      this.release({ first: replaced / this.#clusterBytes, count: 1 }, false);
    } catch (error) {
      this.#clusters!.delete(run.first);
      this.giveBack(run);
      throw error;
    }
  }

  /** @throws DiskError EIO when data would overwrite one of the image's own tables */
  checkData(hostOffset: number, clusters: number): void {
    this.#clusters!.checkNone(hostOffset / this.#clusterBytes, clusters);
  }

  /** Keeps what waits within bounds; to be called between changes. */
  relieve(): void {
    if (this.#releases.length >= MOST_RELEASES) this.commit();
  }

  /** Brings all changes into the file, in order. What was written last is durable after another flush of the file. */
  commit(): void {
    const refcounts = this.#refcounts;
    if (refcounts === undefined || !(refcounts.isDirty || this.map.isDirty || this.#releases.length > 0)) return;
    for (const replaced of refcounts.write()) this.release(replaced, false);
    if (this.map.isDirty) {
      this.#file.flush();
      this.map.writeTables();
      if (this.map.isL1Dirty) {
        this.#file.flush();
        this.map.writeL1();
      }
    }
    if (this.#releases.length === 0) return;
    this.#file.flush();
    const releases = this.#releases;
    this.#releases = [];
    for (const release of releases) this.#apply(release);
    refcounts.write();
  }

  #apply({ first, count, punch }: Release): void {
    let freeFrom = first;
    for (let cluster = first; cluster <= first + count; cluster++) {
      if (cluster < first + count && this.#refcounts!.release(cluster)) continue;
      if (punch && cluster > freeFrom) this.#punch(freeFrom, cluster - freeFrom);
      freeFrom = cluster + 1;
    }
  }

  #punch(first: number, count: number): void {
    const offset = first * this.#clusterBytes;
    const end = Math.min(this.#file.endBytes, offset + count * this.#clusterBytes);
    if (end > offset) this.#file.punchHole(offset, end - offset);
  }
}
