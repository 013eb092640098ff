/**
 * Reads a recording of perf, from a file or a stream, in pieces: its records come out in the order of their times, as
 * places in a window of bytes. Nothing is made an object a record.
 *
 * The order is perf's own. Each FINISHED_ROUND promises that nothing older follows than what the round before it had
 * (tools/perf/util/ordered-events.c), so records wait for two rounds. A recording whose rounds are larger than the window
 * is given out early; how much of it came late is counted.
 */
import { PERF_RECORD_LOST, PERF_RECORD_LOST_SAMPLES, PERF_RECORD_SAMPLE } from "@tools-kvm/kvm-binding/uapi";
import { readAttr, type SampleLayout, u64At } from "./attr.js";
import { ByteSource } from "./byte-source.js";
import { Bytes } from "./bytes.js";
import { CompressedFeed } from "./compressed-feed.js";
import { PerfDataError } from "./error.js";
import { EventTable } from "./events.js";
import { type Features, isKnownFeature, readFeature } from "./features.js";
import { type Feed, PlainFeed } from "./feed.js";
import { FEATURE, LARGEST_SECTION_BYTES, RECORD_HEADER_BYTES, USER_RECORD } from "./format.js";
import { readHeader, readIds } from "./header.js";
import { TimeOrder } from "./time-order.js";
import { readTracingData } from "./tracing-data.js";

/** Records in the order of their times. It is used again for the next batch: keep nothing of it. */
export interface RecordBatch {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Where each record begins in `bytes`. */
  readonly offsets: Int32Array;
  /** Nanoseconds since `PerfDataReader.timeBaseNs`; -Infinity for a record without a time, which belongs before all. */
  readonly timesNs: Float64Array;
  readonly length: number;
}

/** Records as the file has them: those of one CPU in the order of their times, one CPU after the other. */
export interface FileBatch extends RecordBatch {
  /** A round ends behind them. */
  readonly endsRound: boolean;
}

export interface ReaderOptions {
  /** How many bytes of records may wait for their order; 128 MiB. */
  readonly windowBytes?: number;
}

const FIRST_WINDOW_BYTES = 2 ** 20;
const WINDOW_BYTES = 128 * 2 ** 20;
/** The window is made so free that the next read has this much room. */
const READ_BYTES = 256 * 1024;
const KERNEL_RECORDS_END = 64;
/** EVENT_UPDATE: which of them tells a name (PERF_EVENT_UPDATE__NAME). */
const UPDATE_NAME = 2;

/** Why the reader stops taking in records. */
type Stop = "needs bytes" | "round";

export class PerfDataReader {
  readonly events = new EventTable();
  readonly features: Features;
  /** The file was never closed by its writer: it has no features, and its last record may be cut. */
  readonly isUnclosed: boolean;
  readonly isPipe: boolean;
  /** Records that found no room in the kernel's rings. */
  lost = 0;
  /** Samples of events that the file does not describe. */
  unknown = 0;
  /** Records that were older than what had been given out before them. */
  late = 0;
  readonly #source: ByteSource;
  readonly #plain: PlainFeed;
  #feed: Feed;
  readonly #order = new TimeOrder();
  readonly #windowBytes: number;
  #bytes: Uint8Array;
  #view: DataView;
  /** The next record, and the end of what has been read. */
  #at = 0;
  #end = 0;
  #roundLimit = Number.NEGATIVE_INFINITY;
  #newest = Number.NEGATIVE_INFINITY;
  #baseHigh = -1;
  #baseLow = 0;

  private constructor(source: ByteSource, { windowBytes = WINDOW_BYTES }: ReaderOptions) {
    this.#source = source;
    const header = readHeader(source);
    this.features = header.features;
    this.isPipe = header.isPipe;
    this.isUnclosed = !header.isPipe && header.data.end === undefined;
    for (const { attr, ids } of header.events) this.events.add(attr, ids, header.data.offset);
    this.#nameEvents();
    this.#plain = new PlainFeed(source, header.data.end);
    this.#feed = this.#plain;
    this.#windowBytes = Math.max(windowBytes, 2 * READ_BYTES);
    this.#bytes = new Uint8Array(Math.min(FIRST_WINDOW_BYTES, this.#windowBytes));
    this.#view = new DataView(this.#bytes.buffer);
  }

  /**
   * Opens a file, or standard input for `-`, and reads what stands in front of the records.
   * @throws PerfDataError when it is none or damaged; the system's error when it cannot be opened
   */
  static open(path: string, options: ReaderOptions = {}): PerfDataReader {
    const source = ByteSource.open(path);
    try {
      return new PerfDataReader(source, options);
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /** The first time in the recording, by the kernel's clock; times of batches count from it. */
  get timeBaseNs(): bigint {
    return this.#baseHigh < 0 ? 0n : BigInt(this.#baseHigh) * 2n ** 32n + BigInt(this.#baseLow);
  }

  /** All records of the kernel, as the file has them: for what needs no order, or makes its own. Throws PerfDataError. */
  *fileBatches(): Generator<FileBatch, void, void> {
    for (;;) {
      const endsRound = this.#scan() === "round";
      const { times, values, length } = this.#order;
      if (length > 0 || endsRound) {
        yield { bytes: this.#bytes, view: this.#view, offsets: values, timesNs: times, length, endsRound };
        this.#order.drop(length);
      }
      if (!endsRound && !this.#fill()) break;
    }
    this.#checkEnd();
  }

  /** All records of the kernel, in the order of their times. Throws PerfDataError. */
  *batches(): Generator<RecordBatch, void, void> {
    for (;;) {
      if (this.#scan() === "round") {
        yield* this.#flush(this.#roundLimit);
        this.#roundLimit = this.#order.maximum;
        continue;
      }
      if (!this.#makeRoom()) yield* this.#flush(Number.POSITIVE_INFINITY);
      if (!this.#fill()) break;
    }
    this.#checkEnd();
    yield* this.#flush(Number.POSITIVE_INFINITY);
  }

  /** Reads on; false at the end. */
  #fill(): boolean {
    this.#makeRoom();
    const count = this.#feed.fill(this.#bytes, this.#end, READ_BYTES);
    this.#end += count;
    return count > 0;
  }

  #checkEnd(): void {
    if (this.#at < this.#end && !this.isUnclosed) this.#fail("the file ends within a record");
  }

  /** Which of `events.list` the sample at `at` of a batch belongs to. */
  eventIndexAt(view: DataView, at: number): number {
    const { list } = this.events;
    return list.length === 1 ? 0 : this.events.indexOf(u64At(view, at + list[0]!.layout.id));
  }

  close(): void {
    this.#source.close();
  }

  /** Takes in whole records up to the end of a round, or until there are no more in the window. */
  #scan(): Stop {
    let at = this.#at;
    for (;;) {
      const view = this.#view;
      const end = this.#end;
      const { uniform } = this.events;
      const [time, fixedBytes] = uniform === undefined ? [-1, 0] : [uniform.time, uniform.fixedBytes];
      const order = this.#order;
      let type = 0;
      let sizeBytes = 0;
      // Samples of events that all look alike: nearly everything.
      while (at + RECORD_HEADER_BYTES <= end) {
        type = view.getUint32(at, true);
        sizeBytes = view.getUint16(at + 6, true);
        if (type !== PERF_RECORD_SAMPLE || sizeBytes < fixedBytes || time < 0 || at + sizeBytes > end) break;
        order.add(this.#timeAt(view, at + time), at);
        at += sizeBytes;
      }
      this.#at = at;
      if (at + RECORD_HEADER_BYTES > end) return "needs bytes";
      if (sizeBytes < RECORD_HEADER_BYTES) this.#fail(`a record of ${sizeBytes} bytes`);
      if (at + sizeBytes > end) return "needs bytes";
      if (type < KERNEL_RECORDS_END) this.#kernelRecord(type, sizeBytes);
      else if (type === USER_RECORD.FINISHED_ROUND) {
        this.#at += sizeBytes;
        return "round";
      } else this.#userRecord(type, sizeBytes);
      at = this.#at;
    }
  }

  #kernelRecord(type: number, sizeBytes: number): void {
    const at = this.#at;
    const view = this.#view;
    if (this.events.list.length === 0) this.#fail("a record comes before any event is described");
    if (type === PERF_RECORD_LOST && sizeBytes >= 24) this.lost += u64At(view, at + 16);
    if (type === PERF_RECORD_LOST_SAMPLES && sizeBytes >= 16) this.lost += u64At(view, at + 8);
    const isSample = type === PERF_RECORD_SAMPLE;
    const layout = this.#layoutAt(isSample, sizeBytes);
    if (layout === undefined) this.unknown++;
    else this.#order.add(this.#timeOf(layout, isSample, sizeBytes), at);
    this.#at += sizeBytes;
  }

  #layoutAt(isSample: boolean, sizeBytes: number): SampleLayout | undefined {
    const { uniform, list } = this.events;
    if (uniform !== undefined) return uniform;
    const { id, trailingId } = list[0]!.layout;
    if (!isSample && trailingId > sizeBytes - RECORD_HEADER_BYTES) return list[0]!.layout;
    if (isSample && id + 8 > sizeBytes) this.#fail(`a sample of ${sizeBytes} bytes has no room for its identifier`);
    const value = u64At(this.#view, isSample ? this.#at + id : this.#at + sizeBytes - trailingId);
    // Records that perf makes up itself have no identifier: they are read like those of the first event.
    return list[this.events.indexOf(value)]?.layout ?? (isSample ? undefined : list[0]!.layout);
  }

  #timeOf(layout: SampleLayout, isSample: boolean, sizeBytes: number): number {
    if (isSample) {
      if (sizeBytes < layout.fixedBytes)
        this.#fail(`a sample of ${sizeBytes} bytes; its event's have ${layout.fixedBytes}`);
      return layout.time < 0 ? 0 : this.#timeAt(this.#view, this.#at + layout.time);
    }
    const { trailingTime } = layout;
    if (trailingTime < 0) return Number.NEGATIVE_INFINITY;
    if (trailingTime > sizeBytes - RECORD_HEADER_BYTES) return Number.NEGATIVE_INFINITY;
    return this.#timeAt(this.#view, this.#at + sizeBytes - trailingTime);
  }

  /** Relative to the first, so that a double has it exactly. 0 and all ones are "no time" (perf's own records). */
  #timeAt(view: DataView, at: number): number {
    const low = view.getUint32(at, true);
    const high = view.getUint32(at + 4, true);
    if ((high === 0 && low === 0) || (high === 0xffff_ffff && low === 0xffff_ffff)) return Number.NEGATIVE_INFINITY;
    if (this.#baseHigh < 0) {
      this.#baseHigh = high;
      this.#baseLow = low;
    }
    return (high - this.#baseHigh) * 2 ** 32 + (low - this.#baseLow);
  }

  #userRecord(type: number, sizeBytes: number): void {
    const at = this.#at;
    const record = this.#bytes.subarray(at, at + sizeBytes);
    const content = new Bytes(record.subarray(RECORD_HEADER_BYTES), this.#offset + RECORD_HEADER_BYTES);
    switch (type) {
      case USER_RECORD.COMPRESSED:
        if (this.#feed !== this.#plain) break;
        this.#feed = new CompressedFeed(this.#plain, this.#bytes.slice(at, this.#end));
        this.#end = at;
        return;
      case USER_RECORD.COMPRESSED2:
        this.#fail("compressed records of the second kind are not read; record without -z, or with an older perf");
        break;
      case USER_RECORD.HEADER_ATTR: {
        const attr = readAttr(content, content.left);
        this.events.add(attr, readIds(new Bytes(content.bytes(content.left), content.offset)), this.#offset);
        this.#nameEvents();
        break;
      }
      case USER_RECORD.HEADER_FEATURE: {
        const feature = content.u64();
        // perf sends the formats as HEADER_TRACING_DATA.
        if (feature === FEATURE.TRACING_DATA || !isKnownFeature(feature)) break;
        const { offset } = content;
        readFeature(this.features, feature, content.bytes(content.left), offset);
        this.#nameEvents();
        break;
      }
      case USER_RECORD.EVENT_UPDATE: {
        const update = content.u64();
        const id = content.u64();
        if (update === UPDATE_NAME) this.events.nameById(id, content.text(content.left));
        break;
      }
      case USER_RECORD.HEADER_TRACING_DATA: {
        const following = content.u32();
        const offset = this.#offset;
        this.#at += sizeBytes;
        this.features.formats = readTracingData(new Bytes(this.#takeFollowing(following), offset + sizeBytes));
        this.#nameEvents();
        return;
      }
      case USER_RECORD.AUXTRACE: {
        const following = content.u64();
        this.#at += sizeBytes;
        this.#passFollowing(following);
        return;
      }
    }
    this.#at += sizeBytes;
  }

  #nameEvents(): void {
    for (const { name, ids } of this.features.events ?? []) for (const id of ids) this.events.nameById(id, name);
    this.events.nameByFormats(this.features.formats);
  }

  /** Bytes that follow a record without being part of it. */
  #takeFollowing(count: number): Uint8Array {
    if (count > LARGEST_SECTION_BYTES)
      this.#fail(`${count} bytes of formats; at most ${LARGEST_SECTION_BYTES} are read`);
    const here = Math.min(count, this.#end - this.#at);
    const parts: Uint8Array[] = [this.#bytes.slice(this.#at, this.#at + here)];
    this.#at += here;
    for (let left = count - here; left > 0; ) {
      const part = new Uint8Array(Math.min(left, READ_BYTES));
      const got = this.#feed.fill(part, 0, part.length);
      if (got === 0) this.#fail(`${left} more bytes of formats should follow, the file ends`);
      parts.push(part.subarray(0, got));
      left -= got;
    }
    return Buffer.concat(parts);
  }

  #passFollowing(count: number): void {
    const here = Math.min(count, this.#end - this.#at);
    this.#at += here;
    if (count > here && this.#feed === this.#plain) this.#plain.skip(count - here);
  }

  /** Yields what waits and is not newer than `limit`. */
  *#flush(limit: number): Generator<RecordBatch, void, void> {
    const order = this.#order;
    const length = order.sort(limit);
    if (length === 0) return;
    const { times, values } = order;
    for (let i = 0; i < length && times[i]! < this.#newest; i++)
      if (times[i]! !== Number.NEGATIVE_INFINITY) this.late++;
    this.#newest = Math.max(this.#newest, times[length - 1]!);
    yield { bytes: this.#bytes, view: this.#view, offsets: values, timesNs: times, length };
    order.drop(length);
  }

  /** Room for the next read, by moving what is still needed to the front, or by more memory. False: it has to go first. */
  #makeRoom(): boolean {
    if (this.#bytes.length - this.#end >= READ_BYTES) return true;
    const keepFrom = this.#order.smallestValue(this.#at);
    const kept = this.#end - keepFrom;
    if (kept > this.#bytes.length / 2) {
      const larger = Math.min(2 * this.#bytes.length, this.#windowBytes);
      if (larger === this.#bytes.length) return false;
      const bytes = new Uint8Array(larger);
      bytes.set(this.#bytes.subarray(keepFrom, this.#end));
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer);
    } else this.#bytes.copyWithin(0, keepFrom, this.#end);
    this.#order.rebase(keepFrom);
    this.#at -= keepFrom;
    this.#end = kept;
    return true;
  }

  /** Where the record at `#at` is in the file. */
  get #offset(): number {
    return Math.max(0, this.#feed.position - (this.#end - this.#at));
  }

  #fail(problem: string): never {
    throw new PerfDataError(problem, this.#offset);
  }
}
