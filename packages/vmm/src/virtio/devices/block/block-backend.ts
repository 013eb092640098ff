/** The block device's requests (virtio 1.2, section 5.2.6) on a disk image. */
import type { DiskImage } from "../../../block/disk-image.js";
import { errnoOf } from "../../../block/errors.js";
import type { Negotiated, VirtioBackend } from "../../device.js";
import type { RateLimit } from "../../rate-limit.js";
import { type DescriptorChain, VirtqueueFault } from "../../virtqueue.js";
import { BLOCK_FEATURE, capacitySectors, MOST_RANGE_SECTORS, MOST_RANGES, SECTOR_BYTES } from "./block.js";
import { lastByte, skipBytes, takeBytes, totalBytes, withoutLastByte } from "./buffers.js";

/** Request types. */
const T = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const;
/** Request status. */
export const S = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;

const HEADER_BYTES = 16;
const ID_BYTES = 20;
const RANGE_BYTES = 16;
const UNMAP = 1;

export interface BlockBackendOptions {
  readonly disk: DiskImage;
  /** What GET_ID answers; cut to twenty bytes. */
  readonly serial: string;
  /** Told of every request that the disk failed: an errno name, and one line. */
  readonly onFailure: (code: string, message: string) => void;
  readonly limit?: RateLimit | undefined;
}

/** A request that cannot be done as it is; the driver gets its status. */
class Refused extends Error {
  constructor(readonly status: number) {
    super();
  }
}

export class BlockBackend implements VirtioBackend {
  readonly limit: RateLimit | undefined;
  readonly #disk: DiskImage;
  readonly #sectors: number;
  readonly #id = new Uint8Array(ID_BYTES);
  readonly #onFailure: (code: string, message: string) => void;

  constructor({ disk, serial, onFailure, limit }: BlockBackendOptions) {
    this.#disk = disk;
    this.#sectors = capacitySectors(disk.sizeBytes);
    this.#id.set(new TextEncoder().encode(serial).subarray(0, ID_BYTES));
    this.#onFailure = onFailure;
    this.limit = limit;
  }

  handle(_queue: number, { readable, writable }: DescriptorChain, negotiated: Negotiated): number {
    const header = takeBytes(readable, HEADER_BYTES);
    const statusAt = lastByte(writable);
    if (header === undefined) throw new VirtqueueFault("a block request without a header");
    if (statusAt === undefined) throw new VirtqueueFault("a block request without room for its status");
    const view = new DataView(header.buffer);
    const data = withoutLastByte(writable);
    this.limit?.charge(totalBytes(data) + totalBytes(readable) - HEADER_BYTES);
    let written = 0;
    let status: number = S.OK;
    try {
      written = this.#execute({
        type: view.getUint32(0, true),
        sector: Number(view.getBigUint64(8, true)),
        out: skipBytes(readable, HEADER_BYTES),
        data,
        durable: !negotiated.has(BLOCK_FEATURE.FLUSH),
      });
    } catch (error) {
      status = this.#statusOf(error);
    }
    statusAt[0] = status;
    // What a failed read has left in the buffers does not count, but the status lies behind them.
    return status === S.OK ? written + 1 : totalBytes(data) + 1;
  }

  close(): void {
    this.#disk.close();
  }

  #execute({ type, sector, out, data, durable }: Request): number {
    switch (type) {
      case T.IN:
        return this.#read(sector, data);
      case T.OUT:
        this.#write(sector, out, durable);
        return 0;
      case T.FLUSH:
        this.#disk.flush();
        return 0;
      case T.GET_ID:
        return this.#getId(data);
      case T.DISCARD:
      case T.WRITE_ZEROES:
        this.#eachRange(out, (offset, lengthBytes, unmap) => {
          if (type === T.DISCARD) this.#disk.discard(offset, lengthBytes);
          else this.#disk.writeZeroes(offset, lengthBytes, unmap);
        });
        if (durable) this.#disk.flush();
        return 0;
      default:
        throw new Refused(S.UNSUPP);
    }
  }

  #read(sector: number, data: readonly Uint8Array[]): number {
    const lengthBytes = totalBytes(data);
    this.#disk.readv(this.#offset(sector, lengthBytes), data);
    return lengthBytes;
  }

  #write(sector: number, out: readonly Uint8Array[], durable: boolean): void {
    if (this.#disk.readonly) throw new Refused(S.IOERR);
    this.#disk.writev(this.#offset(sector, totalBytes(out)), out);
    // A driver that knows no flush takes every write for durable (section 5.2.6.2).
    if (durable) this.#disk.flush();
  }

  /** Where `lengthBytes` from `sector` on lie, all of them on the disk. */
  #offset(sector: number, lengthBytes: number): number {
    const sectors = lengthBytes / SECTOR_BYTES;
    if (!Number.isInteger(sectors) || sector + sectors > this.#sectors) throw new Refused(S.IOERR);
    return sector * SECTOR_BYTES;
  }

  #getId(data: readonly Uint8Array[]): number {
    let done = 0;
    for (const buffer of data) {
      const piece = this.#id.subarray(done, done + buffer.length);
      buffer.set(piece);
      done += piece.length;
    }
    return done;
  }

  /** The ranges of a discard or write-zeroes request, all checked before the first is touched. */
  #eachRange(out: readonly Uint8Array[], act: (offset: number, lengthBytes: number, unmap: boolean) => void): void {
    const count = totalBytes(out) / RANGE_BYTES;
    if (!Number.isInteger(count) || count > MOST_RANGES) throw new Refused(S.UNSUPP);
    if (this.#disk.readonly) throw new Refused(S.IOERR);
    const bytes = takeBytes(out, count * RANGE_BYTES)!;
    const view = new DataView(bytes.buffer);
    const ranges = Array.from({ length: count }, (_, index) => {
      const at = RANGE_BYTES * index;
      const [sectors, flags] = [view.getUint32(at + 8, true), view.getUint32(at + 12, true)];
      if (sectors > MOST_RANGE_SECTORS) throw new Refused(S.IOERR);
      if ((flags & ~UNMAP) !== 0) throw new Refused(S.UNSUPP);
      const lengthBytes = sectors * SECTOR_BYTES;
      return {
        offset: this.#offset(Number(view.getBigUint64(at, true)), lengthBytes),
        lengthBytes,
        unmap: flags === UNMAP,
      };
    });
    for (const { offset, lengthBytes, unmap } of ranges) act(offset, lengthBytes, unmap);
  }

  #statusOf(error: unknown): number {
    if (error instanceof Refused) return error.status;
    this.#onFailure(errnoOf(error), (error as Error).message);
    return S.IOERR;
  }
}

interface Request {
  readonly type: number;
  readonly sector: number;
  /** What the driver sent behind the header. */
  readonly out: readonly Uint8Array[];
  /** What the driver wants filled, without the status byte. */
  readonly data: readonly Uint8Array[];
  /** A write has to be on stable storage before it is answered. */
  readonly durable: boolean;
}
