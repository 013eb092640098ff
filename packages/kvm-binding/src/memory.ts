import { KvmError } from "./error.js";
import { Handle, Kind, made } from "./handle.js";
import { native } from "./load-native.js";
import type { NativeHandle } from "./native.d.ts";

const PAGE_BYTES = 4096;
/** What one entry of a page directory maps (SDM 3A, 4.5), if both the mapping and what is mapped begin at a multiple of it. */
const HUGE_PAGE_BYTES = 2 ** 21;
/** A typed array cannot be longer (V8), so a region cannot either; a machine with more memory has more regions. */
export const GUEST_MEMORY_MAX_BYTES = 2 ** 32;

/** Guest memory on its way to another thread: a plain object that postMessage clones. */
export interface SharedGuestMemory {
  buffer: SharedArrayBuffer;
  byteOffset: number;
  sizeBytes: number;
  token: number;
}

// The buffer keeps the native handle alive as well: whoever holds only `memory.bytes` still has guest memory in it.
const owner = Symbol("guest memory");

function tie(buffer: SharedArrayBuffer, handle: NativeHandle): void {
  Object.defineProperty(buffer, owner, { value: handle, configurable: true });
}

/**
 * Guest RAM: a file of memory (a memfd), mapped over the inside of a SharedArrayBuffer at a page boundary, so that every Worker has the same bytes,
 * `Atomics` work on them, and a snapshot or another process can map the descriptor. KVM and native calls use a mapping of their own over the
 * same pages: the guest goes on even when every JavaScript view is gone.
 *
 * After the last handle is closed, views that are still held read zeros.
 */
export class GuestMemory extends Handle {
  /** The bytes, `sizeBytes` long. The same memory in every thread. */
  readonly bytes: Uint8Array;
  readonly sizeBytes: number;

  /** @internal */
  constructor(handle: NativeHandle, bytes: Uint8Array, by: typeof made) {
    super(handle, by);
    this.bytes = bytes;
    this.sizeBytes = bytes.length;
    tie(bytes.buffer as SharedArrayBuffer, handle);
  }

  /**
   * New memory, all zero.
   * @param o.sizeBytes whole pages of 4096, at most 4 GiB
   * @param o.name what /proc/PID/maps and /proc/PID/fd show: after "memfd:", or for huge pages after "/"
   * @param o.hugePages whether the host may give it 2 MiB at a time, which spares a guest that touches much of its memory nearly all
   *   page faults. It gets a tmpfs of its own (huge=advise) for that, without a memfd's seals; a memfd where the host allows none
   * @throws KvmError `INVALID` for a size that is not whole pages; `ERRNO` ENOMEM when the host has not that much
   */
  static create(o: { sizeBytes: number; name?: string; hugePages?: boolean }): GuestMemory {
    const { sizeBytes, name = "tools-kvm-guest", hugePages = false } = o;
    if (
      !Number.isInteger(sizeBytes) ||
      sizeBytes <= 0 ||
      sizeBytes > GUEST_MEMORY_MAX_BYTES ||
      sizeBytes % PAGE_BYTES !== 0
    ) {
      throw new KvmError(
        "INVALID",
        "GuestMemory",
        0,
        `${sizeBytes} bytes is not a size from 4096 to 2^32 in whole pages of 4096`,
      );
    }
    const boundary = hugePages ? HUGE_PAGE_BYTES : PAGE_BYTES;
    let buffer: SharedArrayBuffer;
    try {
      buffer = new SharedArrayBuffer(sizeBytes + boundary);
    } catch (cause) {
      throw new KvmError("ERRNO", "GuestMemory", 12, `this process cannot have ${sizeBytes} bytes more`, { cause });
    }
    const keeper = structuredClone(buffer);
    const misalignment = native.memoryMisalignment(new Uint8Array(buffer, 0, 1), boundary);
    const byteOffset = (boundary - misalignment) % boundary;
    const handle = native.memoryCreate(new Uint8Array(keeper, byteOffset, sizeBytes), name, hugePages);
    return new GuestMemory(handle, new Uint8Array(buffer, byteOffset, sizeBytes), made);
  }

  /** This memory in another thread. */
  static attach(s: SharedGuestMemory): GuestMemory {
    const handle = native.attach(s.token, Kind.memory);
    try {
      const keeper = new Uint8Array(structuredClone(s.buffer), s.byteOffset, s.sizeBytes);
      return new GuestMemory(
        native.memoryAttach(handle, keeper),
        new Uint8Array(s.buffer, s.byteOffset, s.sizeBytes),
        made,
      );
    } finally {
      native.close(handle);
    }
  }

  /** What `attach` needs in another thread: `worker.postMessage(memory.share())`. */
  share(): SharedGuestMemory {
    const { buffer, byteOffset } = this.bytes;
    return {
      buffer: buffer as SharedArrayBuffer,
      byteOffset,
      sizeBytes: this.sizeBytes,
      token: native.share(this.native),
    };
  }

  /**
   * preadv(2) from a file straight into this memory.
   * @param segments pairs of offset and length in bytes; at most 1024 pairs, all inside the memory
   * @param count how many pairs of `segments` count, by default all
   * @returns bytes read: fewer than asked at the end of the file
   */
  preadv(
    fd: number,
    segments: Float64Array,
    fileOffset: number | bigint,
    count: number = segments.length >> 1,
  ): number {
    return native.memoryTransfer(this.native, fd, false, fileOffset, segments, count);
  }

  /** pwritev(2) from this memory to a file; as preadv. */
  pwritev(
    fd: number,
    segments: Float64Array,
    fileOffset: number | bigint,
    count: number = segments.length >> 1,
  ): number {
    return native.memoryTransfer(this.native, fd, true, fileOffset, segments, count);
  }

  /**
   * readv(2) from a tap, socket or pipe straight into this memory.
   * @returns bytes read; 0 at the end; -EAGAIN when a non-blocking descriptor has nothing
   */
  readv(fd: number, segments: Float64Array, count: number = segments.length >> 1): number {
    return native.memoryTransfer(this.native, fd, false, null, segments, count);
  }

  /** writev(2) from this memory to a tap, socket or pipe; as readv. */
  writev(fd: number, segments: Float64Array, count: number = segments.length >> 1): number {
    return native.memoryTransfer(this.native, fd, true, null, segments, count);
  }

  /** Gives a range of pages back to the host (fallocate PUNCH_HOLE): it reads as zeros afterwards, for the guest too. */
  discard(offsetBytes: number, lengthBytes: number): void {
    native.memoryDiscard(this.native, offsetBytes, lengthBytes);
  }
}
