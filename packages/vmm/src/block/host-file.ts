/** The file or block device an image lies in: whole reads and writes, holes, flushes, with and without the host's page cache. */
import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  openSync,
  readFileSync,
  readvSync,
  type Stats,
  statSync,
  writevSync,
} from "node:fs";
import { pageMisalignment, punchHole, zeroRange } from "@tools-kvm/kvm-binding";
import { BufferCursor, gather, scatter, totalBytes, zeros } from "./buffers.js";
import { DiskError, errnoOf } from "./errors.js";
import { FileBatch, type TransferBatch } from "./file-batch.js";
import { lockImage } from "./image-lock.js";

/** `writeback`: through the host's page cache. `direct`: past it (O_DIRECT), where the file system can. Both are safe after a flush. */
export type CacheMode = "writeback" | "direct";

export interface HostFileOptions {
  readonly readonly: boolean;
  readonly cache?: CacheMode;
  /** False leaves out the lock that keeps two machines from writing one image. */
  readonly lock?: boolean;
}

/** What the image formats stand on. Every failure is an Error with `code`. */
export interface HostFile {
  readonly path: string;
  readonly readonly: boolean;
  /** Where the file ends: as it was opened, or later if it was written beyond that. */
  readonly endBytes: number;
  /** Device and inode: the same for two names of one file. */
  readonly identity: string;
  /** Fills the buffers; what lies beyond the end reads as zeros. EIO when the file has become shorter than it was. */
  readv(offset: number, into: readonly Uint8Array[]): void;
  writev(offset: number, from: readonly Uint8Array[]): void;
  /** For many requests inside the file at once. */
  readonly batch?: TransferBatch | undefined;
  /** Makes a range inside the file read as zeros, giving its space back if the file system can; false when nothing could be done. */
  punchHole(offset: number, lengthBytes: number): boolean;
  /** Makes a range inside the file read as zeros, keeping its space. */
  zeroRange(offset: number, lengthBytes: number): void;
  /** Everything written is on stable storage (fdatasync(2)). After a failure the host may have dropped data, so it fails for good. */
  flush(): void;
  close(): void;
}

const UNSUPPORTED = new Set(["EOPNOTSUPP", "ENOTSUP", "ENOSYS", "ENODEV", "EINVAL"]);

/**
 * Opens an image's file. Only regular files and block devices are taken: anything else might wait, or do something.
 * @throws an Error with `code`: ENOENT, EACCES; EBUSY when another machine has it; EINVAL for what is no file
 */
export function openHostFile(path: string, options: HostFileOptions): HostFile {
  const { readonly, cache = "writeback", lock = true } = options;
  const access = (readonly ? constants.O_RDONLY : constants.O_RDWR) | constants.O_NONBLOCK | constants.O_NOCTTY;
  // Looked at before it is opened: opening a device of another kind may do something already. A block device that is mounted must not
  // be written, which O_EXCL asks the kernel about.
  const exclusive = checkedStat(path, statSync(path)).isBlockDevice() && !readonly ? constants.O_EXCL : 0;
  const fd = openSync(path, access | exclusive);
  let directFd: number | undefined;
  try {
    const status = checkedStat(path, fstatSync(fd));
    const endBytes = status.isFile() ? status.size : blockDeviceBytes(status.rdev, path);
    if (lock) lockImage(fd, path, readonly);
    if (cache === "direct") directFd = openDirect(path, access);
    return new OpenFile(path, readonly, identityOf(status), fd, directFd, status.isFile(), endBytes);
  } catch (error) {
    if (directFd !== undefined) closeSync(directFd);
    closeSync(fd);
    throw error;
  }
}

/** Device and inode of a file that need not be open: the same for two names of one file. */
export function fileIdentity(path: string): string {
  return identityOf(statSync(path));
}

function identityOf(status: Stats): string {
  return status.isBlockDevice() ? `device ${status.rdev}` : `file ${status.dev}:${status.ino}`;
}

function checkedStat(path: string, status: Stats): Stats {
  if (status.isFile() || status.isBlockDevice()) return status;
  throw new DiskError("EINVAL", `${path} is neither a file nor a block device`);
}

/** The kernel counts a device in sectors of 512 bytes, whatever its own are. */
function blockDeviceBytes(rdev: number, path: string): number {
  const major = ((rdev >>> 8) & 0xfff) | 0;
  const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
  const sectors = Number(readFileSync(`/sys/dev/block/${major}:${minor}/size`, "latin1"));
  if (!Number.isSafeInteger(sectors * 512)) throw new DiskError("EINVAL", `${path} does not say how large it is`);
  return sectors * 512;
}

function openDirect(path: string, access: number): number {
  try {
    return openSync(path, access | constants.O_DIRECT);
  } catch (error) {
    if (errnoOf(error) !== "EINVAL") throw error;
    throw new DiskError("ENOTSUP", `${path}: its file system has no direct I/O; use cache=writeback`, { cause: error });
  }
}

/** What every device and file system accepts for O_DIRECT: pages. */
const ALIGN = 4096;
const BOUNCE_BYTES = 2 ** 20;

/** Bytes of an own buffer that begins on a page. */
function pageAligned(sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes + ALIGN);
  const start = (ALIGN - pageMisalignment(bytes)) % ALIGN;
  return bytes.subarray(start, start + sizeBytes);
}

/** Reads or writes some of the buffers' bytes: how many, at least one. */
type Move = (fd: number, buffers: Uint8Array[], position: number) => number;

class OpenFile implements HostFile {
  readonly path: string;
  readonly readonly: boolean;
  readonly identity: string;
  readonly #fd: number;
  readonly #directFd: number | undefined;
  readonly #isFile: boolean;
  readonly batch: FileBatch;
  #endBytes: number;
  #bounce: Uint8Array | undefined;
  #flushFailure: unknown;
  #closed = false;

  constructor(
    path: string,
    readonly: boolean,
    identity: string,
    fd: number,
    directFd: number | undefined,
    isFile: boolean,
    endBytes: number,
  ) {
    this.path = path;
    this.readonly = readonly;
    this.identity = identity;
    this.#fd = fd;
    this.#directFd = directFd;
    this.#isFile = isFile;
    this.#endBytes = endBytes;
    const isDirect = directFd !== undefined;
    this.batch = new FileBatch({ fd: directFd ?? fd, isDirect, endBytes: () => this.#endBytes });
  }

  get endBytes(): number {
    return this.#endBytes;
  }

  readv(offset: number, into: readonly Uint8Array[]): void {
    const length = totalBytes(into);
    const inside = Math.max(0, Math.min(length, this.#endBytes - offset));
    if (inside === length) {
      this.#transfer(offset, into, length, this.#read);
      return;
    }
    const cursor = new BufferCursor(into);
    if (inside > 0) this.#transfer(offset, cursor.take(inside), inside, this.#read);
    for (const beyond of cursor.take(length - inside)) beyond.fill(0);
  }

  writev(offset: number, from: readonly Uint8Array[]): void {
    const length = totalBytes(from);
    if (length === 0) return;
    if (!this.#isFile && offset + length > this.#endBytes) {
      throw new DiskError("ENOSPC", `${this.path} has only ${this.#endBytes} bytes`);
    }
    try {
      this.#transfer(offset, from, length, this.#write);
      this.#endBytes = Math.max(this.#endBytes, offset + length);
    } catch (error) {
      // A part may have been written, and so have lengthened the file: what lies beyond endBytes must read as zeros.
      if (this.#isFile) this.#endBytes = Math.max(this.#endBytes, fstatSync(this.#fd).size);
      throw error;
    }
  }

  punchHole(offset: number, lengthBytes: number): boolean {
    return this.#deallocate(punchHole, offset, lengthBytes);
  }

  zeroRange(offset: number, lengthBytes: number): void {
    if (!this.#deallocate(zeroRange, offset, lengthBytes)) this.#writeZeros(offset, lengthBytes);
  }

  flush(): void {
    if (this.#flushFailure !== undefined) {
      throw new DiskError("EIO", `${this.path}: an earlier flush failed, and what was written before it may be lost`, {
        cause: this.#flushFailure,
      });
    }
    if (this.readonly) return;
    try {
      fdatasyncSync(this.#fd);
    } catch (error) {
      this.#flushFailure = error;
      throw error;
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.batch.close();
    if (this.#directFd !== undefined) closeSync(this.#directFd);
    closeSync(this.#fd);
  }

  #deallocate(how: typeof punchHole, offset: number, lengthBytes: number): boolean {
    if (lengthBytes === 0) return true;
    try {
      how(this.#fd, offset, lengthBytes);
      return true;
    } catch (error) {
      const code = errnoOf(error);
      if (UNSUPPORTED.has(code)) return false;
      throw new DiskError(code === "INVALID" ? "EIO" : code, `${this.path}: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  #writeZeros(offset: number, lengthBytes: number): void {
    const end = offset + lengthBytes;
    for (let at = offset; at < end; at += BOUNCE_BYTES) this.writev(at, zeros(Math.min(BOUNCE_BYTES, end - at)));
  }

  readonly #read: Move = (fd, buffers, position) => {
    const got = readvSync(fd, buffers, position);
    if (got > 0) return got;
    throw new DiskError("EIO", `${this.path} ends at ${position} of its ${this.#endBytes} bytes: it was truncated`);
  };

  readonly #write: Move = (fd, buffers, position) => {
    const put = writevSync(fd, buffers, position);
    if (put > 0) return put;
    throw new DiskError("EIO", `${this.path} takes no more at ${position}`);
  };

  /** The kernel may move less than asked: at an iovec limit, before the disk is full. Then the rest is asked for, and the reason appears. */
  #transfer(offset: number, buffers: readonly Uint8Array[], length: number, move: Move): void {
    if (this.#directFd !== undefined) {
      this.#transferDirect(this.#directFd, offset, buffers, length, move);
      return;
    }
    this.#moveAll(this.#fd, offset, buffers, length, move);
  }

  #moveAll(fd: number, offset: number, buffers: readonly Uint8Array[], length: number, move: Move): void {
    if (length === 0) return;
    let moved = move(fd, buffers as Uint8Array[], offset);
    while (moved < length) {
      const cursor = new BufferCursor(buffers);
      cursor.take(moved);
      moved += move(fd, cursor.take(length - moved), offset + moved);
    }
  }

  /**
   * Whole pages go past the page cache, through a bounce buffer where their memory is not aligned. The odd bytes at either side go through the
   * cache; the kernel keeps both views of a file the same (open(2), NOTES), and a flush covers both.
   */
  #transferDirect(fd: number, offset: number, buffers: readonly Uint8Array[], length: number, move: Move): void {
    const first = Math.ceil(offset / ALIGN) * ALIGN;
    const last = Math.floor((offset + length) / ALIGN) * ALIGN;
    const cursor = new BufferCursor(buffers);
    if (first >= last) {
      this.#moveAll(this.#fd, offset, buffers, length, move);
      return;
    }
    this.#moveAll(this.#fd, offset, cursor.take(first - offset), first - offset, move);
    const middle = cursor.take(last - first);
    if (middle.every((b) => b.length % ALIGN === 0 && pageMisalignment(b) === 0)) {
      this.#moveAll(fd, first, middle, last - first, move);
    } else {
      this.#moveBounced(fd, first, middle, last - first, move);
    }
    const rest = offset + length - last;
    this.#moveAll(this.#fd, last, cursor.take(rest), rest, move);
  }

  #moveBounced(fd: number, offset: number, buffers: readonly Uint8Array[], length: number, move: Move): void {
    this.#bounce ??= pageAligned(BOUNCE_BYTES);
    const cursor = new BufferCursor(buffers);
    for (let at = 0; at < length; at += BOUNCE_BYTES) {
      const bounce = this.#bounce.subarray(0, Math.min(BOUNCE_BYTES, length - at));
      const part = cursor.take(bounce.length);
      if (move === this.#write) gather(part, bounce);
      this.#moveAll(fd, offset + at, [bounce], bounce.length, move);
      if (move === this.#read) scatter(bounce, part);
    }
  }
}
