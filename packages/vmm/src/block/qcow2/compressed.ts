/** Compressed clusters: a raw deflate stream (RFC 1951) or a Zstandard frame (RFC 8878) that yields one cluster. */
import zlib from "node:zlib";
import { DiskError } from "../errors.js";
import type { HostFile } from "../host-file.js";
import type { CompressedRange } from "./cluster-map.js";
import type { Qcow2Header } from "./header.js";

type Decompress = (bytes: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;

/** Node has Zstandard from 22.15 on; with it comes this function. */
const zstdDecompress = (zlib as unknown as { zstdDecompressSync?: Decompress }).zstdDecompressSync;

/** @throws DiskError ENOTSUP when this Node cannot read the image's compression */
export function checkCompression(header: Qcow2Header): void {
  if (header.compression === "zstd" && zstdDecompress === undefined) {
    throw new DiskError(
      "ENOTSUP",
      `a qcow2 image with zstd compression, which Node.js ${process.versions.node} cannot read; 22.15 can`,
    );
  }
}

export class CompressedClusters {
  readonly #file: HostFile;
  readonly #header: Qcow2Header;
  /** The cluster that was read last: a guest reads on in it. */
  #last: { readonly hostOffset: number; readonly bytes: Uint8Array } | undefined;

  constructor(file: HostFile, header: Qcow2Header) {
    this.#file = file;
    this.#header = header;
  }

  /** The cluster's bytes; good until the next call. @throws DiskError EIO when they do not make a cluster */
  read({ hostOffset, lengthBytes }: CompressedRange): Uint8Array {
    if (this.#last?.hostOffset === hostOffset) return this.#last.bytes;
    const packed = new Uint8Array(Math.min(lengthBytes, this.#file.endBytes - hostOffset));
    this.#file.readv(hostOffset, [packed]);
    const bytes = this.#decompress(packed, hostOffset);
    this.#last = { hostOffset, bytes };
    return bytes;
  }

  #decompress(packed: Uint8Array, hostOffset: number): Uint8Array {
    const { clusterBytes, compression } = this.#header;
    let cause: unknown;
    try {
      const bytes =
        compression === "zstd"
          ? zstdDecompress!(packed.subarray(0, zstdFrameBytes(packed)), { maxOutputLength: clusterBytes })
          : zlib.inflateRawSync(packed, { maxOutputLength: clusterBytes });
      if (bytes.length === clusterBytes) return bytes;
    } catch (error) {
      cause = error;
    }
    const message = `${this.#file.path} is damaged: the compressed bytes at ${hostOffset} do not make a cluster`;
    throw new DiskError("EIO", message, { cause });
  }
}

const ZSTD_MAGIC = 0xfd2fb528;

/**
 * How long the Zstandard frame is that the bytes begin with (RFC 8878, 3.1.1): what follows it in the last sector belongs to others.
 * Bytes that are no whole frame count as all of it.
 */
export function zstdFrameBytes(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 6 || view.getUint32(0, true) !== ZSTD_MAGIC) return bytes.length;
  const descriptor = view.getUint8(4);
  const singleSegment = (descriptor >> 5) & 1;
  const dictionaryIdBytes = [0, 1, 2, 4][descriptor & 3]!;
  const contentSizeBytes = [singleSegment, 2, 4, 8][descriptor >> 6]!;
  let at = 5 + (1 - singleSegment) + dictionaryIdBytes + contentSizeBytes;
  for (;;) {
    if (at + 3 > bytes.length) return bytes.length;
    const block = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    const isRunLength = ((block >> 1) & 3) === 1;
    at += 3 + (isRunLength ? 1 : block >>> 3);
    if ((block & 1) === 1) break;
  }
  const hasChecksum = ((descriptor >> 2) & 1) === 1;
  return Math.min(bytes.length, at + (hasChecksum ? 4 : 0));
}
