/** Writes to standard output at once and in full, however slow its reader is. */
import { writeSync } from "node:fs";

const STDOUT = 1;
const RETRY_MS = 1;
const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** The reader of standard output has gone away. */
export class NoReader extends Error {
  override readonly name = "NoReader";
}

/** Throws NoReader, or the system's error (ENOSPC). */
export function writeOut(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(STDOUT, bytes, at, bytes.length - at);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EPIPE") throw new NoReader("nobody reads any more");
      if (code !== "EAGAIN") throw error;
      Atomics.wait(sleeper, 0, 0, RETRY_MS);
    }
  }
}
