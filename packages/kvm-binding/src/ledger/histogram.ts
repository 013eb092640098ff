/**
 * The ledger's histogram: one bucket a nanosecond below 64 ns, then 64 to the octave up to 2^36 ns (69 s); longer times land in the last
 * bucket. A bucket's middle is at most 0.8% from any time in it. native/ledger.h has the same function for the writer.
 */
export const SUB_BUCKET_BITS = 6;
const SUB_BUCKETS = 2 ** SUB_BUCKET_BITS;
const LARGEST_BIT = 36;
/** Powers are named, since the engine does not fold them. */
const BEYOND_NS = 2 ** LARGEST_BIT;
const BEYOND_32_BITS = 2 ** 32;
export const BUCKET_COUNT = SUB_BUCKETS + (LARGEST_BIT - SUB_BUCKET_BITS) * SUB_BUCKETS;

/** The bucket of a time in whole nanoseconds. */
export function bucketOf(ns: number): number {
  if (ns < SUB_BUCKETS) return ns;
  if (ns >= BEYOND_NS) return BUCKET_COUNT - 1;
  if (ns < BEYOND_32_BITS) {
    const octave = 31 - Math.clz32(ns) - SUB_BUCKET_BITS;
    return octave * SUB_BUCKETS + (ns >>> octave);
  }
  const octave = 63 - Math.clz32(ns / BEYOND_32_BITS) - SUB_BUCKET_BITS;
  return octave * SUB_BUCKETS + Math.floor(ns / 2 ** octave);
}

/** The shortest time that lands in a bucket, in nanoseconds. */
export function bucketLowNs(bucket: number): number {
  if (bucket < SUB_BUCKETS) return bucket;
  const octave = Math.floor(bucket / SUB_BUCKETS) - 1;
  return (SUB_BUCKETS + (bucket % SUB_BUCKETS)) * 2 ** octave;
}

/** The middle of a bucket, in nanoseconds: exact below 64. */
export function bucketMiddleNs(bucket: number): number {
  if (bucket < SUB_BUCKETS) return bucket;
  const octave = Math.floor(bucket / SUB_BUCKETS) - 1;
  return bucketLowNs(bucket) + (2 ** octave - 1) / 2;
}

/**
 * The time below which `p` per cent of the recorded times lie, as the middle of its bucket; 0 for an empty histogram.
 * @param p 0 to 100
 */
export function percentileNs(buckets: ArrayLike<number>, p: number): number {
  let total = 0;
  for (let i = 0; i < buckets.length; i++) total += buckets[i]!;
  if (total === 0) return 0;
  const rank = Math.max(1, Math.ceil((Math.min(Math.max(p, 0), 100) / 100) * total));
  let seen = 0;
  for (let i = 0; i < buckets.length; i++) {
    seen += buckets[i]!;
    if (seen >= rank) return bucketMiddleNs(i);
  }
  return bucketMiddleNs(buckets.length - 1);
}
