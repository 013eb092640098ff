/** Tables of one cluster each (L2 tables, refcount blocks), kept in memory and written back when their owner says. */
import { DiskError } from "../errors.js";
import type { HostFile } from "../host-file.js";

export interface Table {
  /** Where it lies in the image's file. */
  readonly offset: number;
  readonly view: DataView;
  dirty: boolean;
}

export class TableCache {
  readonly #file: HostFile;
  readonly #clusterBytes: number;
  readonly #capacity: number;
  readonly #writeBack: () => void;
  /** Least recently used first. */
  readonly #tables = new Map<number, Table>();
  #last: Table | undefined;
  #dirtyCount = 0;

  /**
   * @param o.capacityBytes bytes of tables to keep, in any case eight tables
   * @param o.writeBack asked when every table is dirty and another one is needed: afterwards none may be dirty
   */
  constructor(file: HostFile, o: { clusterBytes: number; capacityBytes: number; writeBack: () => void }) {
    this.#file = file;
    this.#clusterBytes = o.clusterBytes;
    this.#capacity = Math.max(8, Math.floor(o.capacityBytes / o.clusterBytes));
    this.#writeBack = o.writeBack;
  }

  get isDirty(): boolean {
    return this.#dirtyCount > 0;
  }

  /** The table at a file offset, which must be a cluster inside the file; `name` is for the error when it is not. */
  get(offset: number, name: string): Table {
    if (this.#last?.offset === offset) return this.#last;
    const known = this.#tables.get(offset);
    if (known !== undefined) {
      this.#tables.delete(offset);
      this.#tables.set(offset, known);
      this.#last = known;
      return known;
    }
    if (offset === 0 || offset % this.#clusterBytes !== 0 || offset >= this.#file.endBytes) {
      throw new DiskError(
        "EIO",
        `${this.#file.path} is damaged: ${name} at ${offset}, which is no cluster of the file`,
      );
    }
    const bytes = new Uint8Array(this.#clusterBytes);
    this.#file.readv(offset, [bytes]);
    return this.#add(offset, bytes, false);
  }

  /** A new table of zeros, or a copy of another, for a cluster that was just allocated. It is dirty. */
  create(offset: number, copyOf?: Table): Table {
    const bytes = new Uint8Array(this.#clusterBytes);
    if (copyOf !== undefined) bytes.set(new Uint8Array(copyOf.view.buffer));
    const stale = this.#tables.get(offset);
    if (stale !== undefined) this.#drop(stale);
    return this.#add(offset, bytes, true);
  }

  markDirty(table: Table): void {
    if (table.dirty) return;
    table.dirty = true;
    this.#dirtyCount++;
  }

  /** Writes every dirty table to the file. One that fails stays dirty, with those after it. */
  write(): void {
    if (this.#dirtyCount === 0) return;
    for (const table of this.#tables.values()) {
      if (!table.dirty) continue;
      this.#file.writev(table.offset, [new Uint8Array(table.view.buffer)]);
      table.dirty = false;
      this.#dirtyCount--;
    }
  }

  #add(offset: number, bytes: Uint8Array, dirty: boolean): Table {
    this.#makeRoom();
    const table: Table = { offset, view: new DataView(bytes.buffer), dirty };
    if (dirty) this.#dirtyCount++;
    this.#tables.set(offset, table);
    this.#last = table;
    return table;
  }

  #makeRoom(): void {
    if (this.#tables.size < this.#capacity) return;
    if (this.#dirtyCount === this.#tables.size) this.#writeBack();
    for (const table of this.#tables.values()) {
      if (table.dirty) continue;
      this.#drop(table);
      return;
    }
  }

  #drop(table: Table): void {
    if (table.dirty) this.#dirtyCount--;
    this.#tables.delete(table.offset);
    if (this.#last === table) this.#last = undefined;
  }
}
