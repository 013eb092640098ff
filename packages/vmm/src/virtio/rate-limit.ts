/**
 * Limits of what a device moves: so many bytes and so many operations a second. Each is a token bucket that fills with the
 * rate and holds what the rate gives in the burst time. An operation may begin while no bucket is empty, and takes its
 * tokens then, if need be on credit: so one that is larger than the bucket is done, too, and the next waits the longer.
 */

export interface RateLimitSpec {
  /** Bytes a second, 1 or more. */
  readonly bytesPerSecond?: number | undefined;
  /** Operations a second, 1 or more. */
  readonly operationsPerSecond?: number | undefined;
  /** What may be saved up while less is moved, in seconds at the rate; DEFAULT_BURST_SECONDS when left out. */
  readonly burstSeconds?: number | undefined;
}

export const DEFAULT_BURST_SECONDS = 0.1;
/** A thread sleeps for whole milliseconds: a bucket that held less than some of them give would never let the rate be reached. */
const LEAST_BURST_SECONDS = 0.005;
const NS = 1e9;

class TokenBucket {
  readonly #rate: number;
  readonly #capacity: number;
  #level: number;
  #filledNs: number;

  constructor(rate: number, burstSeconds: number, nowNs: number) {
    this.#rate = rate;
    this.#capacity = Math.max(1, rate * Math.max(LEAST_BURST_SECONDS, burstSeconds));
    this.#level = this.#capacity;
    this.#filledNs = nowNs;
  }

  #fill(nowNs: number): void {
    const since = Math.max(0, nowNs - this.#filledNs);
    this.#level = Math.min(this.#capacity, this.#level + (since / NS) * this.#rate);
    this.#filledNs = nowNs;
  }

  take(tokens: number, nowNs: number): void {
    this.#fill(nowNs);
    this.#level -= tokens;
  }

  /** Until there is a whole token, or as much of one as the bucket holds. */
  waitNs(nowNs: number): number {
    this.#fill(nowNs);
    return this.#level >= 1 ? 0 : Math.max(1, Math.ceil(((1 - this.#level) / this.#rate) * NS));
  }
}

export class RateLimit {
  readonly #nowNs: () => number;
  readonly #bytes: TokenBucket | undefined;
  readonly #operations: TokenBucket | undefined;

  /** @param nowNs nanoseconds on a monotonic clock */
  constructor(spec: RateLimitSpec, nowNs: () => number) {
    const { bytesPerSecond, operationsPerSecond, burstSeconds = DEFAULT_BURST_SECONDS } = spec;
    const bucket = (rate: number | undefined): TokenBucket | undefined =>
      rate === undefined ? undefined : new TokenBucket(rate, burstSeconds, nowNs());
    this.#nowNs = nowNs;
    this.#bytes = bucket(bytesPerSecond);
    this.#operations = bucket(operationsPerSecond);
  }

  /** An operation of so many bytes is done. */
  charge(bytes: number): void {
    const now = this.#nowNs();
    this.#bytes?.take(bytes, now);
    this.#operations?.take(1, now);
  }

  /** How long until the next operation may begin, in nanoseconds; 0 when it may now. */
  waitNs(): number {
    const now = this.#nowNs();
    return Math.max(this.#bytes?.waitNs(now) ?? 0, this.#operations?.waitNs(now) ?? 0);
  }
}
