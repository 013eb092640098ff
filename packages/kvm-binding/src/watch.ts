import { native } from "./load-native.js";

export interface Watch {
  /** No more callbacks. Twice is nothing. */
  close(): void;
  /** Let the process end although this watches. */
  unref(): void;
  ref(): void;
}

/**
 * Calls `onReadable` on this thread's event loop while the descriptor is readable: again and again until what is there has been taken.
 * It watches a duplicate, so the handle may be closed before the watch; the process stays alive until close() or unref().
 * @throws KvmError `ERRNO` EPERM for what cannot be polled (plain files, statistics)
 */
export function watch(h: { fd: number }, onReadable: () => void): Watch {
  const watching = native.watchStart(h.fd, onReadable);
  return {
    close: () => native.watchClose(watching),
    unref: () => native.watchRef(watching, false),
    ref: () => native.watchRef(watching, true),
  };
}
