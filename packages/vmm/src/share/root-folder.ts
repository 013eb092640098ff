/** The root of a share as a descriptor, and the two ways to speak of what is below it: a step by openat2(2), and where a descriptor is now. */
import { closeSync, constants, openSync, readlinkSync } from "node:fs";
import {
  ESTALE,
  fsAt,
  O_PATH,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
} from "@tools-kvm/kvm-binding";
import { ShareError } from "./errors.js";

/** Downward, and through no link: of the whole path, whatever anybody renames meanwhile. */
export const RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
const HOLD = O_PATH | constants.O_NOFOLLOW;
const SLASH = 0x2f;

export class RootFolder {
  readonly fd: number;
  #prefix: Buffer;

  /** @throws an Error with `code` when the folder cannot be opened, or /proc is not mounted */
  constructor(path: string) {
    this.fd = openSync(path, O_PATH | constants.O_DIRECTORY);
    try {
      this.#prefix = this.#ownPrefix();
    } catch (error) {
      closeSync(this.fd);
      throw error;
    }
  }

  /** An O_PATH descriptor of what is at `path` below `dirFd`; a symbolic link at its end is the file meant. */
  hold(dirFd: number, path: Uint8Array): number {
    return fsAt.openat2(dirFd, path, { flags: HOLD, resolve: RESOLVE });
  }

  /**
   * The path from the root to where a descriptor's file is now. ESTALE when that is outside. Of a file without a name it leads nowhere.
   * The root may itself have been moved since.
   */
  pathTo(fd: number): Buffer {
    const path = readlinkSync(procPath(fd), "buffer");
    if (!startsWith(path, this.#prefix)) {
      this.#prefix = this.#ownPrefix();
      if (!startsWith(path, this.#prefix))
        throw new ShareError(ESTALE, "the file is not in the shared folder any more");
    }
    return path.subarray(this.#prefix.length);
  }

  #ownPrefix(): Buffer {
    const path = readlinkSync(procPath(this.fd), "buffer");
    return path.length === 1 ? path : Buffer.concat([path, Buffer.of(SLASH)]);
  }
}

/** The link by which the kernel shows an open descriptor of this process. It leads to the file itself, not to a name. */
export function procPath(fd: number): string {
  return `/proc/self/fd/${fd}`;
}

function startsWith(path: Buffer, prefix: Buffer): boolean {
  return path.length >= prefix.length && path.compare(prefix, 0, prefix.length, 0, prefix.length) === 0;
}
