/** A raw image: the disk's bytes, as they are, in a file or block device. */
import { BufferCursor, gather, totalBytes } from "./buffers.js";
import type { DiskImage } from "./disk-image.js";
import { checkRange, DiskError } from "./errors.js";
import type { TransferBatch } from "./file-batch.js";
import type { HostFile } from "./host-file.js";

/** Bytes at which formats with a header have their magic number. */
const HEAD_BYTES = 512;

export class RawDisk implements DiskImage {
  readonly sizeBytes: number;
  readonly readonly: boolean;
  readonly #file: HostFile;
  readonly #isForbiddenHead: ((head: Uint8Array) => boolean) | undefined;
  readonly batch: TransferBatch | undefined;
  #closed = false;

  /**
   * @param isForbiddenHead for an image that was taken for raw because nothing said otherwise: what its first bytes must not
   * become, since the next one to look would take it for another format, with a header that the guest has chosen
   */
  constructor(file: HostFile, isForbiddenHead?: (head: Uint8Array) => boolean) {
    this.#file = file;
    this.sizeBytes = file.endBytes;
    this.readonly = file.readonly;
    this.#isForbiddenHead = isForbiddenHead;
    this.batch = file.batch === undefined ? undefined : this.#checkedBatch(file.batch);
  }

  /** The file's, without what writev() has to look at first. */
  #checkedBatch(batch: TransferBatch): TransferBatch {
    return {
      add: (isWrite, offset, buffers, name) => {
        if (isWrite && (this.readonly || (this.#isForbiddenHead !== undefined && offset < HEAD_BYTES))) return false;
        return batch.add(isWrite, offset, buffers, name);
      },
      run: (onDone) => batch.run(onDone),
    };
  }

  readv(offset: number, into: readonly Uint8Array[]): void {
    checkRange(offset, totalBytes(into), this.sizeBytes);
    this.#file.readv(offset, into);
  }

  writev(offset: number, from: readonly Uint8Array[]): void {
    this.#checkWrite(offset, totalBytes(from));
    const checked = this.#isForbiddenHead !== undefined && offset < HEAD_BYTES ? this.#checkedHead(offset, from) : from;
    this.#file.writev(offset, checked);
  }

  flush(): void {
    this.#file.flush();
  }

  discard(offset: number, lengthBytes: number): void {
    this.#checkWrite(offset, lengthBytes);
    this.#file.punchHole(offset, lengthBytes);
  }

  writeZeroes(offset: number, lengthBytes: number, mayUnmap: boolean): void {
    this.#checkWrite(offset, lengthBytes);
    if (mayUnmap && this.#file.punchHole(offset, lengthBytes)) return;
    this.#file.zeroRange(offset, lengthBytes);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      if (!this.readonly) this.#file.flush();
    } finally {
      this.#file.close();
    }
  }

  #checkWrite(offset: number, lengthBytes: number): void {
    if (this.readonly) throw new DiskError("EROFS", `${this.#file.path} was opened for reading only`);
    checkRange(offset, lengthBytes, this.sizeBytes);
  }

  /** The bytes to write, the first of them in memory of our own: the guest may change its memory between the look and the write. */
  #checkedHead(offset: number, from: readonly Uint8Array[]): Uint8Array[] {
    const length = totalBytes(from);
    const cursor = new BufferCursor(from);
    const own = new Uint8Array(Math.min(length, HEAD_BYTES - offset));
    gather(cursor.take(own.length), own);
    const head = new Uint8Array(HEAD_BYTES);
    this.#file.readv(0, [head]);
    head.set(own, offset);
    if (this.#isForbiddenHead?.(head)) {
      throw new DiskError(
        "EPERM",
        `${this.#file.path} was taken for raw by its contents, so the guest may not make it look like another format; name its format`,
      );
    }
    return [own, ...cursor.take(length - own.length)];
  }
}
