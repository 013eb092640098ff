import type { Negotiated, VirtioBackend, VirtioInput } from "../../device.js";
import { type DescriptorChain, type Virtqueue, VirtqueueFault } from "../../virtqueue.js";
import { takeBytes, totalBytes } from "../block/buffers.js";
import { BALLOON_PAGE_BYTES, BALLOON_QUEUE } from "./balloon.js";
import { type BalloonStats, MOST_STATS_BYTES, parseStats } from "./balloon-stats.js";

/** Guest RAM that can be given back to the host: it reads as zeros afterwards, and takes memory again when it is touched. */
export interface ReturnableMemory {
  /** Whole pages. False, and nothing is given back, when they are not all RAM. */
  discard(gpa: number, lengthBytes: number): boolean;
  /** The whole pages within a view of guest RAM. */
  discardView(view: Uint8Array): void;
}

export interface BalloonBackendOptions {
  readonly memory: ReturnableMemory;
  /** Somebody wants to know the guest's statistics: readable until it is taken. */
  readonly ask: { readonly fd: number; take(): number };
  readonly onStats: (stats: BalloonStats) => void;
}

const PFN_BYTES = 4;
/** Drivers send a few hundred at once; a chain of more is refused, so that none takes long. */
export const MOST_PAGES = 65_536;

export class BalloonBackend implements VirtioBackend {
  readonly input: VirtioInput;
  readonly #options: BalloonBackendOptions;

  constructor(options: BalloonBackendOptions) {
    this.#options = options;
    this.input = new StatsInput(options);
  }

  handle(queueIndex: number, chain: DescriptorChain): number {
    const { memory } = this.#options;
    if (queueIndex === BALLOON_QUEUE.INFLATE) this.#inflate(chain);
    // Deflated pages need nothing: they are there again when the guest touches them.
    else if (queueIndex !== BALLOON_QUEUE.DEFLATE) for (const view of chain.writable) memory.discardView(view);
    return 0;
  }

  /** An array of page numbers (section 5.5.6.1); pages that follow each other are given back by one call. */
  #inflate({ readable }: DescriptorChain): void {
    const length = totalBytes(readable);
    const count = Math.floor(length / PFN_BYTES);
    if (length % PFN_BYTES !== 0 || count > MOST_PAGES)
      throw new VirtqueueFault(`an array of pages of ${length} bytes`);
    const pages = new Uint32Array(takeBytes(readable, length)!.buffer).sort();
    for (let first = 0; first < count; ) {
      let next = first + 1;
      // The same page may come twice.
      while (next < count && pages[next]! - pages[next - 1]! <= 1) next++;
      this.#discard(pages[first]!, pages[next - 1]!);
      first = next;
    }
  }

  #discard(firstPage: number, lastPage: number): void {
    const gpa = firstPage * BALLOON_PAGE_BYTES;
    if (!this.#options.memory.discard(gpa, (lastPage + 1) * BALLOON_PAGE_BYTES - gpa))
      throw new VirtqueueFault(`page 0x${firstPage.toString(16)} to 0x${lastPage.toString(16)}, which is not RAM`);
  }

  close(): void {}
}

/**
 * The statistics queue (section 5.5.6.3) works the other way round: the driver sends a buffer of statistics unasked, and the
 * device keeps it until it wants newer ones, which the driver sends when it has it back.
 */
class StatsInput implements VirtioInput {
  readonly queueIndex = BALLOON_QUEUE.STATS;
  readonly fd: number;
  readonly #options: BalloonBackendOptions;
  #kept: { readonly queue: Virtqueue; readonly chain: DescriptorChain } | undefined;

  constructor(options: BalloonBackendOptions) {
    this.#options = options;
    this.fd = options.ask.fd;
  }

  deliver(queue: Virtqueue, _negotiated: Negotiated): "empty" | "full" {
    const { ask, onStats } = this.#options;
    // What was in a queue before a reset is nobody's any more.
    if (this.#kept?.queue !== queue) this.#kept = undefined;
    const chain = queue.next();
    if (chain !== undefined) {
      if (this.#kept !== undefined) throw new VirtqueueFault("two buffers of statistics at once");
      this.#kept = { queue, chain };
    }
    if (this.#kept === undefined) return "full";
    if (ask.take() === 0) {
      if (chain !== undefined)
        onStats(parseStats(takeBytes(chain.readable, Math.min(totalBytes(chain.readable), MOST_STATS_BYTES))!));
      return "empty";
    }
    // Newer ones come at once.
    queue.complete(this.#kept.chain, 0);
    this.#kept = undefined;
    return "full";
  }
}
