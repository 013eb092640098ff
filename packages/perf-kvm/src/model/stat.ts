import { BUCKET_COUNT, bucketLowNs, bucketMiddleNs, bucketOf } from "@tools-kvm/kvm-binding/uapi";

/** The highest bit of each bucket's times. */
const OCTAVES = Array.from({ length: BUCKET_COUNT }, (_, bucket) =>
  Math.floor(Math.log2(Math.max(1, bucketLowNs(bucket)))),
);

/** Times of one kind of exit: how many, how long together, the extremes, and a histogram (error at most 0.8%). */
export class Stat {
  count = 0;
  sumNs = 0;
  minNs = Number.POSITIVE_INFINITY;
  maxNs = 0;
  readonly histogram = new Float64Array(BUCKET_COUNT);

  /** Counts one that took `ns` (whole nanoseconds, not negative). */
  add(ns: number): void {
    this.count++;
    this.sumNs += ns;
    if (ns < this.minNs) this.minNs = ns;
    if (ns > this.maxNs) this.maxNs = ns;
    this.histogram[bucketOf(ns)]!++;
  }

  /** Adds what another has counted. */
  merge(other: Stat): void {
    this.count += other.count;
    this.sumNs += other.sumNs;
    this.minNs = Math.min(this.minNs, other.minNs);
    this.maxNs = Math.max(this.maxNs, other.maxNs);
    const last = other.#lastBucket;
    for (let i = other.#firstBucket; i <= last; i++) this.histogram[i]! += other.histogram[i]!;
  }

  /** All others are empty: most kinds of exits fill a tenth of them. Beyond the last one when nothing was counted. */
  get #firstBucket(): number {
    return bucketOf(this.minNs);
  }

  get #lastBucket(): number {
    return this.minNs > this.maxNs ? -1 : bucketOf(this.maxNs);
  }

  clear(): void {
    this.histogram.fill(0, this.#firstBucket, this.#lastBucket + 1);
    this.count = 0;
    this.sumNs = 0;
    this.minNs = Number.POSITIVE_INFINITY;
    this.maxNs = 0;
  }

  /** The extremes as the histogram has them, for times that were counted into it elsewhere (within 0.8%). */
  extremesFromHistogram(): void {
    const first = this.histogram.findIndex((count) => count > 0);
    if (first === -1) return;
    this.minNs = bucketMiddleNs(first);
    this.maxNs = bucketMiddleNs(this.histogram.findLastIndex((count) => count > 0));
  }

  /** Counts by the highest bit of the time in nanoseconds; without zeros at the end. */
  octaves(): number[] {
    const counts: number[] = [];
    const last = this.#lastBucket;
    for (let bucket = this.#firstBucket; bucket <= last; bucket++) {
      const count = this.histogram[bucket]!;
      if (count === 0) continue;
      const octave = OCTAVES[bucket]!;
      while (counts.length <= octave) counts.push(0);
      counts[octave]! += count;
    }
    return counts;
  }

  get avgNs(): number {
    return this.count === 0 ? 0 : this.sumNs / this.count;
  }

  /** The time below which `p` per cent lie (0 to 100). */
  percentileNs(p: number): number {
    const first = this.#firstBucket;
    const last = this.#lastBucket;
    let total = 0;
    for (let i = first; i <= last; i++) total += this.histogram[i]!;
    if (total === 0) return 0;
    const rank = Math.max(1, Math.ceil((Math.min(Math.max(p, 0), 100) / 100) * total));
    let bucket = first;
    for (let seen = this.histogram[first]!; seen < rank && bucket < last; ) seen += this.histogram[++bucket]!;
    return bucketMiddleNs(bucket);
  }
}
