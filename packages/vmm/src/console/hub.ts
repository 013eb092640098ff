/**
 * The serial console of a machine and everybody who looks at it: the terminal it was started on, a file, viewers that
 * attach and leave. Output goes to all; input from any goes to the guest.
 */
import type { Duplex, Writable } from "node:stream";

/** What a viewer who attaches late is shown of the past. */
const HISTORY_BYTES = 16 * 1024;
/** A viewer that is this far behind is cut off: it must not hold up the others. */
const MAX_LAG_BYTES = 1024 * 1024;

export interface ConsoleHubOptions {
  /** Bytes from a viewer, for the guest. */
  onInput(bytes: Uint8Array, viewer: Duplex): void;
  /** Where the console goes first; when it is slow the guest waits for it. Absent for `--serial null`. */
  readonly primary?: Writable;
  /** The primary output can take more: what was held back may come. */
  onDrain(): void;
}

export class ConsoleHub {
  readonly #options: ConsoleHubOptions;
  readonly #viewers = new Set<Duplex>();
  #history: Buffer = Buffer.alloc(0);

  constructor(options: ConsoleHubOptions) {
    this.#options = options;
    options.primary?.on("drain", () => options.onDrain());
  }

  get viewers(): number {
    return this.#viewers.size;
  }

  /** Sends the guest's bytes to everybody. False when the primary output wants no more until `onDrain`. */
  write(bytes: Uint8Array): boolean {
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#history = Buffer.concat([this.#history, chunk]).subarray(-HISTORY_BYTES);
    for (const viewer of this.#viewers) {
      viewer.write(chunk);
      if (viewer.writableLength > MAX_LAG_BYTES) viewer.destroy();
    }
    return this.#options.primary?.write(chunk) ?? true;
  }

  /** Adds a viewer; it sees the recent past first, and leaves by closing. */
  attach(viewer: Duplex): void {
    viewer.write(this.#history);
    this.#viewers.add(viewer);
    viewer.on("data", (bytes: Buffer) => this.#options.onInput(bytes, viewer));
    const leave = (): void => {
      this.#viewers.delete(viewer);
      viewer.destroy();
    };
    viewer.on("end", leave).on("close", leave);
    viewer.resume();
  }

  /** The machine has ended: every viewer is let go after what is on its way to it. */
  close(): void {
    for (const viewer of this.#viewers) viewer.end();
  }
}
