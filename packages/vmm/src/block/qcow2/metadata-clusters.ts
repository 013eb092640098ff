/**
 * Which clusters of an image hold its own tables. A guest's data is never written there, whatever the image's tables say: the
 * guest would write tables of its own choice.
 */
import { DiskError } from "../errors.js";

interface ClusterRange {
  readonly first: number;
  readonly count: number;
}

export class MetadataClusters {
  readonly #path: string;
  readonly #single = new Set<number>();
  readonly #header: ClusterRange = { first: 0, count: 1 };
  readonly #l1Table: ClusterRange;
  #refcountTable: ClusterRange;

  /** @throws DiskError EIO when tables overlap */
  constructor(path: string, l1Table: ClusterRange, refcountTable: ClusterRange) {
    this.#path = path;
    this.#l1Table = l1Table;
    this.#refcountTable = refcountTable;
    const overlap =
      l1Table.first < refcountTable.first + refcountTable.count && refcountTable.first < l1Table.first + l1Table.count;
    if (overlap || inside(0, l1Table) || inside(0, refcountTable))
      this.#damaged(Math.max(l1Table.first, refcountTable.first));
  }

  has(cluster: number): boolean {
    return (
      this.#single.has(cluster) ||
      inside(cluster, this.#header) ||
      inside(cluster, this.#l1Table) ||
      inside(cluster, this.#refcountTable)
    );
  }

  /** A cluster becomes an L2 table or a refcount block. @throws DiskError EIO when it is a table already */
  add(cluster: number): void {
    if (this.has(cluster)) this.#damaged(cluster);
    this.#single.add(cluster);
  }

  delete(cluster: number): void {
    this.#single.delete(cluster);
  }

  moveRefcountTable(range: ClusterRange): void {
    this.#refcountTable = range;
  }

  /** @throws DiskError EIO when a run of clusters, about to be written with data, has a table in it */
  checkNone(first: number, count: number): void {
    for (let cluster = first; cluster < first + count; cluster++) if (this.has(cluster)) this.#damaged(cluster);
  }

  #damaged(cluster: number): never {
    throw new DiskError(
      "EIO",
      `${this.#path} is damaged: cluster ${cluster} has two uses, one of them a table (qemu-img check tells more)`,
    );
  }
}

function inside(cluster: number, range: ClusterRange): boolean {
  return cluster >= range.first && cluster < range.first + range.count;
}
