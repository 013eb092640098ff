/**
 * How large the ring of one more thread is. Rings are locked memory, so that all of them together are bounded: hosts with
 * few vCPU threads get what rides out a busy moment of ours, and each of hundreds gets less, since they share the CPUs that
 * events come from.
 */
const LEAST_PAGES = 16;

/**
 * Pages of data for a thread's ring, a power of two. All rings of n threads together take at most `threads` times
 * `mostPages`, and as much again for each time that n doubles beyond `threads`.
 * @param open rings that are open already
 * @param threads so many have rings of `mostPages`
 */
export function ringPages(open: number, mostPages: number, threads = 64): number {
  let pages = mostPages;
  for (let room = threads; open >= room && pages > LEAST_PAGES; room *= 2) pages /= 2;
  return pages;
}
