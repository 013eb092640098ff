/** What a disk fails at, for its machine's owner: a guest that goes on asking must not fill a log. */

/** How long the failures of one kind are only counted after one was told. */
export const QUIET_NS = 60e9;

interface Told {
  readonly atNs: number;
  /** Of the same kind since. */
  more: number;
}

export class FailureLog {
  readonly #log: (line: string) => void;
  readonly #nowNs: () => number;
  readonly #told = new Map<string, Told>();

  /** @param nowNs nanoseconds on a monotonic clock */
  constructor(log: (line: string) => void, nowNs: () => number) {
    this.#log = log;
    this.#nowNs = nowNs;
  }

  /** @param code an errno name, by which kinds differ */
  failed(code: string, message: string): void {
    const now = this.#nowNs();
    const before = this.#told.get(code);
    if (before !== undefined && now - before.atNs < QUIET_NS) {
      before.more++;
      return;
    }
    const more = before === undefined || before.more === 0 ? "" : ` (and ${before.more} more before it)`;
    this.#told.set(code, { atNs: now, more: 0 });
    this.#log(`${message.startsWith(`${code}: `) ? "" : `${code}: `}${message}${more}`);
  }
}
