import { BUCKET_COUNT, bucketLowNs, bucketMiddleNs, bucketOf, percentileNs } from "@tools-kvm/kvm-binding/uapi";

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
    for (let i = 0; i < BUCKET_COUNT; i++) this.histogram[i]! += other.histogram[i]!;
  }

  clear(): void {
    this.count = 0;
    this.sumNs = 0;
    this.minNs = Number.POSITIVE_INFINITY;
    this.maxNs = 0;
    this.histogram.fill(0);
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
    this.histogram.forEach((count, bucket) => {
      if (count === 0) return;
      const octave = OCTAVES[bucket]!;
      while (counts.length <= octave) counts.push(0);
      counts[octave]! += count;
    });
    return counts;
  }

  get avgNs(): number {
    return this.count === 0 ? 0 : this.sumNs / this.count;
  }

  /** The time below which `p` per cent lie (0 to 100). */
  percentileNs(p: number): number {
    return percentileNs(this.histogram, p);
  }
}
