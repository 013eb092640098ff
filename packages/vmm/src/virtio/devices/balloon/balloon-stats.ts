/** The guest's own view of its memory, as its driver sends it (virtio 1.2, section 5.5.6.3). */

/** Tags of the statistics; the ones of memory are in bytes, the others count events. */
const TAGS = [
  "swapInBytes",
  "swapOutBytes",
  "majorFaults",
  "minorFaults",
  "freeBytes",
  "totalBytes",
  "availableBytes",
  "cacheBytes",
  "hugePageAllocations",
  "hugePageFailures",
] as const;

/** What the driver has said; what it left out, or cannot be told exactly, is not there. */
export type BalloonStats = { readonly [K in (typeof TAGS)[number]]?: number };

/** A statistic: a tag of 16 bits and a value of 64, without padding. */
const STAT_BYTES = 10;
/** Tags are few; what a driver sends beyond is not looked at. */
const MOST_STATS = 64;
export const MOST_STATS_BYTES = STAT_BYTES * MOST_STATS;

/** Reads whole statistics from `bytes`; unknown tags are passed over, and of a repeated one the last counts. */
export function parseStats(bytes: Uint8Array): BalloonStats {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const stats: Record<string, number> = {};
  const end = Math.min(bytes.length, MOST_STATS_BYTES);
  for (let at = 0; at + STAT_BYTES <= end; at += STAT_BYTES) {
    const name = TAGS[view.getUint16(at, true)];
    const value = Number(view.getBigUint64(at + 2, true));
    if (name !== undefined && Number.isSafeInteger(value)) stats[name] = value;
  }
  return stats;
}
