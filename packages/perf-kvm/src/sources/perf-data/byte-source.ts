/** Where the bytes of a recording come from: a file, or a stream such as standard input. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { PerfDataError } from "./error.js";

/** How long to sleep when a non-blocking descriptor has nothing yet. */
const RETRY_MS = 2;
const sleeper = new Int32Array(new SharedArrayBuffer(4));

export class ByteSource {
  readonly #fd: number;
  readonly #owned: boolean;
  /** Size of a regular file; undefined for a stream, which can only be read from front to end. */
  readonly sizeBytes: number | undefined;
  /** Where `read` goes on. */
  position = 0;

  private constructor(fd: number, owned: boolean) {
    this.#fd = fd;
    this.#owned = owned;
    const stat = fstatSync(fd);
    if (stat.isDirectory()) throw Object.assign(new Error("is a folder"), { code: "EISDIR" });
    this.sizeBytes = stat.isFile() ? stat.size : undefined;
  }

  /** `-` is standard input. Throws the system's error (ENOENT, EACCES). */
  static open(path: string): ByteSource {
    if (path === "-") return new ByteSource(0, false);
    const fd = openSync(path, "r");
    try {
      return new ByteSource(fd, true);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Up to `length` bytes from the current position; 0 at the end. */
  read(into: Uint8Array, offset: number, length: number): number {
    for (;;) {
      try {
        const count = readSync(this.#fd, into, offset, length, this.sizeBytes === undefined ? null : this.position);
        this.position += count;
        return count;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === "EOF") return 0;
        if (code !== "EAGAIN") throw error;
        Atomics.wait(sleeper, 0, 0, RETRY_MS);
      }
    }
  }

  /** Exactly so many bytes. Throws PerfDataError when the file ends before. */
  readExactly(count: number): Uint8Array {
    const from = this.position;
    if (this.sizeBytes !== undefined && from + count > this.sizeBytes) this.#endsBefore(count, from);
    const bytes = new Uint8Array(count);
    for (let filled = 0; filled < count; ) {
      const length = this.read(bytes, filled, count - filled);
      if (length === 0) this.#endsBefore(count, from);
      filled += length;
    }
    return bytes;
  }

  close(): void {
    if (this.#owned) closeSync(this.#fd);
  }

  #endsBefore(count: number, from: number): never {
    throw new PerfDataError(`${count} bytes should follow, the file ends`, from);
  }
}
