/** The events of a recording: which record belongs to which, and how its bytes are laid out. */
import { PERF_TYPE_TRACEPOINT } from "@tools-kvm/kvm-binding/uapi";
import { type EventAttr, SampleLayout } from "./attr.js";
import { PerfDataError } from "./error.js";
import type { RecordedFormats } from "./tracing-data.js";

export interface RecordedEvent {
  readonly attr: EventAttr;
  readonly layout: SampleLayout;
  /** `kvm:kvm_exit`, or what perf called it. */
  name: string;
}

/** Ids of one recording lie close together: up to this span they are looked up in a table instead of a map. */
const WIDEST_TABLE = 2 ** 20;

export class EventTable {
  readonly list: RecordedEvent[] = [];
  readonly #byId = new Map<number, number>();
  #smallestId = Number.POSITIVE_INFINITY;
  #largestId = 0;
  #table: Int32Array | undefined;

  /** The layout that all have in common; undefined when they differ. */
  uniform: SampleLayout | undefined;

  /** `offset` is where the event stands in the file, for the message of the PerfDataError. */
  add(attr: EventAttr, ids: readonly number[], offset: number): void {
    const layout = new SampleLayout(attr);
    const [first] = this.list;
    if (first === undefined) this.uniform = layout;
    else if (!first.layout.equals(layout)) {
      if (!first.layout.isLike(layout)) {
        throw new PerfDataError("events of different shapes, and no identifier that tells them apart", offset);
      }
      this.uniform = undefined;
    }
    const index = this.list.push({ attr, layout, name: `type ${attr.type} config 0x${attr.config.toString(16)}` }) - 1;
    this.addIds(index, ids);
  }

  addIds(index: number, ids: readonly number[]): void {
    for (const id of ids) {
      this.#byId.set(id, index);
      this.#smallestId = Math.min(this.#smallestId, id);
      this.#largestId = Math.max(this.#largestId, id);
    }
    this.#table = undefined;
  }

  /** Which event has this id; -1 when none. A single event needs no id. */
  indexOf(id: number): number {
    if (this.#largestId - this.#smallestId >= WIDEST_TABLE) return this.#byId.get(id) ?? -1;
    this.#table ??= this.#buildTable();
    return this.#table[id - this.#smallestId] ?? -1;
  }

  /** Tracepoints are named by their formats, others by what the file calls them. */
  nameByFormats(formats: RecordedFormats | undefined): void {
    for (const event of this.list) {
      const format = formats?.get(Number(event.attr.config));
      if (event.attr.type === PERF_TYPE_TRACEPOINT && format !== undefined)
        event.name = `${format.system}:${format.name}`;
    }
  }

  nameById(id: number, name: string): void {
    const event = this.list[this.#byId.get(id) ?? -1];
    if (event !== undefined && name !== "") event.name = name;
  }

  #buildTable(): Int32Array {
    if (this.#byId.size === 0) return new Int32Array(0);
    const table = new Int32Array(this.#largestId - this.#smallestId + 1).fill(-1);
    for (const [id, index] of this.#byId) table[id - this.#smallestId] = index;
    return table;
  }
}
