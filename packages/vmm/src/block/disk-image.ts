import type { TransferBatch } from "./file-batch.js";

/** A disk as the guest's block device sees it; every call is synchronous and throws an Error with `code` (errno name) on I/O failure. */
export interface DiskImage {
  readonly sizeBytes: number;
  readonly readonly: boolean;
  /** Fills the buffers, one after the other, with what lies on the disk from `offset` on. The whole range is inside the disk. */
  readv(offset: number, into: readonly Uint8Array[]): void;
  /** Writes the buffers one after the other from `offset` on. The whole range is inside the disk. Durable after flush(). */
  writev(offset: number, from: readonly Uint8Array[]): void;
  /** For many requests at once; images that have none are read and written one by one. */
  readonly batch?: TransferBatch | undefined;
  /** Everything written before is on stable storage when this returns. */
  flush(): void;
  /** The range is not needed any more. It reads as before or as zeros; space may be given back. A hint: where it cannot be done it is nothing. */
  discard(offset: number, lengthBytes: number): void;
  /** The range reads as zeros afterwards. With `mayUnmap` its space may be given back, without it space that it has is kept. */
  writeZeroes(offset: number, lengthBytes: number, mayUnmap: boolean): void;
  /** Writes what is still held back, flushes, and gives the file and its lock up. Closing twice is nothing. */
  close(): void;
}
