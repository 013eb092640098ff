/** Files of unix sockets. */
import { statSync, unlinkSync } from "node:fs";
import { UnixSocket } from "@tools-kvm/kvm-binding";

/** What a unix socket's address has room for before its final zero (unix(7), sun_path). */
export const MOST_PATH_BYTES = 107;

/** Removes a socket at which nobody listens any more, from a machine that could not remove it. */
export function removeStale(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  try {
    UnixSocket.connect(path).close();
  } catch (error) {
    if (/ECONNREFUSED/.test((error as Error).message)) unlinkSync(path);
  }
}
