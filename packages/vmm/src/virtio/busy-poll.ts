/**
 * How long a device's thread looks at its queues by itself before it sleeps. A driver that sends the next request as soon as
 * it has the last one's answer is served without a notification, which costs the guest an exit, and without waking a thread.
 *
 * The window follows the driver: it grows while requests come shortly after the thread has gone to sleep, and shrinks when
 * they come later than that, so a driver that comes seldom costs nothing.
 */

/** The longest window, in nanoseconds: about what an exit and a wake-up cost together on a slow host. */
export const MOST_POLL_NS = 64_000;
/** The shortest window that is worth anything. */
const LEAST_POLL_NS = 8_000;

export class BusyPoll {
  readonly #nowNs: () => number;
  #windowNs = 0;
  /** When there was something to do, or when the thread began to look. */
  #sinceNs = 0;
  #asleepNs = Number.NEGATIVE_INFINITY;

  /** @param nowNs nanoseconds on a monotonic clock */
  constructor(nowNs: () => number) {
    this.#nowNs = nowNs;
  }

  /** There was something to do. */
  worked(): void {
    this.#sinceNs = this.#nowNs();
  }

  /** There was nothing: whether to look again. When not, the thread is about to sleep. */
  looksAgain(): boolean {
    const now = this.#nowNs();
    if (now - this.#sinceNs < this.#windowNs) return true;
    this.#asleepNs = now;
    return false;
  }

  /** The thread has been woken, and has something to do. */
  woke(): void {
    const now = this.#nowNs();
    if (now - this.#asleepNs < MOST_POLL_NS) {
      this.#windowNs = Math.min(MOST_POLL_NS, Math.max(LEAST_POLL_NS, 2 * this.#windowNs));
    } else {
      this.#windowNs = this.#windowNs > LEAST_POLL_NS ? this.#windowNs / 2 : 0;
    }
    this.#sinceNs = now;
  }
}
