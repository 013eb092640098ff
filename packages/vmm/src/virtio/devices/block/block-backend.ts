/** The block device's requests (virtio 1.2, section 5.2.6) on a disk image. */
import type { DiskImage } from "../../../block/disk-image.js";
import { errnoOf } from "../../../block/errors.js";
import type { TransferBatch } from "../../../block/file-batch.js";
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

  handle(_queue: number, chain: DescriptorChain, negotiated: Negotiated): number {
    return this.#perform(this.#parse(chain, negotiated));
  }

  handleAll(
    _queue: number,
    chains: readonly DescriptorChain[],
    negotiated: Negotiated,
    done: (chain: DescriptorChain, writtenBytes: number) => void,
  ): void {
    const { batch } = this.#disk;
    const requests: Request[] = [];
    const runBatch = (): void =>
      batch?.run((index, isDone) => {
        const request = requests[index]!;
        done(chains[index]!, isDone ? answer(request, S.OK, writtenBytes(request)) : this.#perform(request));
      });
    try {
      chains.forEach((chain, index) => {
        const request = this.#parse(chain, negotiated);
        requests.push(request);
        if (batch !== undefined && this.#addTo(batch, request, index)) return;
        // A flush, say: what came before it is done first.
        runBatch();
        done(chain, this.#perform(request));
      });
    } finally {
      runBatch();
    }
  }

  #addTo(batch: TransferBatch, { type, sector, out, data, durable }: Request, index: number): boolean {
    const isWrite = type === T.OUT;
    if ((type !== T.IN && !isWrite) || (isWrite && durable)) return false;
    const buffers = isWrite ? out : data;
    const lengthBytes = totalBytes(buffers);
    return this.#isOnDisk(sector, lengthBytes) && batch.add(isWrite, sector * SECTOR_BYTES, buffers, index);
  }

  #parse({ readable, writable }: DescriptorChain, negotiated: Negotiated): Request {
    const [first] = readable;
    const header = first !== undefined && first.length >= HEADER_BYTES ? first : takeBytes(readable, HEADER_BYTES);
    const statusAt = lastByte(writable);
    if (header === undefined) throw new VirtqueueFault("a block request without a header");
    if (statusAt === undefined) throw new VirtqueueFault("a block request without room for its status");
    const data = withoutLastByte(writable);
    const out = skipBytes(readable, HEADER_BYTES);
    this.limit?.charge(totalBytes(data) + totalBytes(out));
    return {
      type: word(header, 0),
      sector: word(header, 12) * 2 ** 32 + word(header, 8),
      out,
      data,
      statusAt,
      durable: !negotiated.has(BLOCK_FEATURE.FLUSH),
    };
  }

  #perform(request: Request): number {
    let written = 0;
    let status: number = S.OK;
    try {
      written = this.#execute(request);
    } catch (error) {
      status = this.#statusOf(error);
    }
    return answer(request, status, written);
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
    if (!this.#isOnDisk(sector, lengthBytes)) throw new Refused(S.IOERR);
    return sector * SECTOR_BYTES;
  }

  #isOnDisk(sector: number, lengthBytes: number): boolean {
    return lengthBytes % SECTOR_BYTES === 0 && sector + lengthBytes / SECTOR_BYTES <= this.#sectors;
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
  /** Its status, in place. */
  readonly statusAt: Uint8Array;
  /** What the driver sent behind the header. */
  readonly out: readonly Uint8Array[];
  /** What the driver wants filled, without the status byte. */
  readonly data: readonly Uint8Array[];
  /** A write has to be on stable storage before it is answered. */
  readonly durable: boolean;
}

/** Writes a request's status: how many bytes of its buffers were written. */
function answer({ statusAt, data }: Request, status: number, written: number): number {
  statusAt[0] = status;
  // What a failed read has left in the buffers does not count, but the status lies behind them.
  return status === S.OK ? written + 1 : totalBytes(data) + 1;
}

/** What a read or write that was done has written to the driver's buffers. */
function writtenBytes({ type, data }: Request): number {
  return type === T.IN ? totalBytes(data) : 0;
}

/** Four bytes, each of which is read once: the guest may change them meanwhile. */
function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}
