/** Many requests to a file at once, by io_uring: a disk that can do several things at a time is given several. */
import { FileRing, pageMisalignment } from "@tools-kvm/kvm-binding";
import { totalBytes } from "./buffers.js";

/** Called for each request as it is done. When it is not, the caller does it by readv or writev, which says why. */
export type OnDone = (name: number, isDone: boolean) => void;

/** What may be done for an image beside its readv and writev, one batch at a time: add, then run. */
export interface TransferBatch {
  /** Takes a request, whose bytes are inside the disk. False when it cannot be done here, or not now. */
  add(isWrite: boolean, offset: number, buffers: readonly Uint8Array[], name: number): boolean;
  /** Returns when nothing of what was taken is left. */
  run(onDone: OnDone): void;
}

export interface FileBatchOptions {
  readonly fd: number;
  /** O_DIRECT: whole pages, in memory that begins on one. */
  readonly isDirect: boolean;
  /** Where the file ends. */
  readonly endBytes: () => number;
}

const ENTRIES = 64;
const MOST_BUFFERS = 1024;
/** Requests that are worth a ring. Through the page cache one that is there already takes a microsecond; more than that is a ring's own cost. */
const LEAST_DIRECT = 2;
const LEAST_CACHED = 8;

interface Request {
  readonly isWrite: boolean;
  readonly offset: number;
  readonly buffers: readonly Uint8Array[];
  readonly name: number;
  readonly lengthBytes: number;
}

export class FileBatch implements TransferBatch {
  readonly #options: FileBatchOptions;
  #requests: Request[] = [];
  /** Undefined until there is something for it, null where there is no io_uring. */
  #ring: FileRing | undefined | null;

  constructor(options: FileBatchOptions) {
    this.#options = options;
  }

  add(isWrite: boolean, offset: number, buffers: readonly Uint8Array[], name: number): boolean {
    const { isDirect, endBytes } = this.#options;
    if (this.#ring === null || this.#requests.length === ENTRIES) return false;
    const lengthBytes = totalBytes(buffers);
    if (lengthBytes === 0 || buffers.length > MOST_BUFFERS || offset + lengthBytes > endBytes()) return false;
    // A write into the page cache is a copy, and ends at once.
    if (isDirect ? !isAligned(offset, buffers) : isWrite) return false;
    this.#requests.push({ isWrite, offset, buffers, name, lengthBytes });
    return true;
  }

  run(onDone: OnDone): void {
    const requests = this.#requests;
    this.#requests = [];
    const ring = requests.length < (this.#options.isDirect ? LEAST_DIRECT : LEAST_CACHED) ? undefined : this.#open();
    if (ring === undefined || !submit(ring, this.#options.fd, requests)) {
      for (const { name } of requests) onDone(name, false);
      return;
    }
    try {
      for (let count = ring.wait(); count > 0; count = ring.wait()) {
        for (let i = 0; i < count; i++) {
          const { name, lengthBytes } = requests[ring.doneNames[i]!]!;
          onDone(name, ring.doneResults[i] === lengthBytes);
        }
      }
    } finally {
      // Whatever onDone has thrown: the kernel writes to guest memory until then.
      while (ring.wait() > 0);
    }
  }

  close(): void {
    this.#ring?.close();
    this.#ring = null;
  }

  #open(): FileRing | undefined {
    if (this.#ring === undefined) {
      try {
        this.#ring = FileRing.create(ENTRIES);
      } catch {
        this.#ring = null;
      }
    }
    return this.#ring ?? undefined;
  }
}

function submit(ring: FileRing, fd: number, requests: readonly Request[]): boolean {
  try {
    requests.forEach(({ isWrite, offset, buffers }, index) => {
      ring.add(isWrite, offset, buffers, index);
    });
    ring.submit(fd);
    return true;
  } catch {
    return false;
  }
}

/** What every device and file system accepts for O_DIRECT: pages. */
const PAGE_BYTES = 4096;

function isAligned(offset: number, buffers: readonly Uint8Array[]): boolean {
  if (offset % PAGE_BYTES !== 0) return false;
  for (const buffer of buffers) if (buffer.length % PAGE_BYTES !== 0 || pageMisalignment(buffer) !== 0) return false;
  return true;
}
