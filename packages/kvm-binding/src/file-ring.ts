import { KvmError } from "./error.js";
import { Handle, made } from "./handle.js";
import { native } from "./load-native.js";

const WRITE = 1;
const BY_THREAD = 2;
const FIELDS = 4;
const MOST_ENTRIES = 256;

/**
 * Reads and writes of a file, many at once, by io_uring(7): what is added goes to the kernel in one call, and comes back as it is done. For one
 * thread, and one batch at a time: add, submit, wait until nothing is in flight.
 */
export class FileRing extends Handle {
  /** The most requests of a batch. */
  readonly entries: number;
  /** The names of what the last wait() found, in its first `n` elements. */
  readonly doneNames: Int32Array;
  /** Bytes moved, or minus an errno, beside each name. Fewer bytes than asked for are nothing unusual. */
  readonly doneResults: Int32Array;
  readonly #requests: Float64Array;
  #buffers: Uint8Array[] = [];
  #count = 0;
  #inFlight = 0;

  /**
   * @param entries the most requests of a batch, a power of two up to 256
   * @throws KvmError ENOSYS, EPERM, ENOMEM: this kernel, or whoever set the process up, has no io_uring for it
   */
  constructor(entries: number) {
    if (!Number.isInteger(entries) || entries < 1 || entries > MOST_ENTRIES || (entries & (entries - 1)) !== 0) {
      throw new KvmError("INVALID", "FileRing", 0, `${entries} entries are not a power of two up to ${MOST_ENTRIES}`);
    }
    super(native.fileRingCreate(entries), made);
    this.entries = entries;
    this.doneNames = new Int32Array(entries);
    this.doneResults = new Int32Array(entries);
    this.#requests = new Float64Array(FIELDS * entries);
  }

  static create(entries: number): FileRing {
    return new FileRing(entries);
  }

  /** Requests that were added and not submitted. */
  get added(): number {
    return this.#count;
  }
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * Adds a request to the batch.
   * @param buffers at most 1024, which are the kernel's until the request is done
   * @param name a 31-bit integer by which it comes back
   * @param byThread lets a thread of the kernel's do it: copies of many pages then run beside each other
   */
  add(isWrite: boolean, offset: number, buffers: readonly Uint8Array[], name: number, byThread = false): void {
    if (this.#count === this.entries) throw new KvmError("INVALID", "FileRing.add", 0, "the batch is full");
    const at = FIELDS * this.#count++;
    this.#requests[at] = offset;
    this.#requests[at + 1] = (isWrite ? WRITE : 0) | (byThread ? BY_THREAD : 0);
    this.#requests[at + 2] = buffers.length;
    this.#requests[at + 3] = name;
    for (const buffer of buffers) this.#buffers.push(buffer);
  }

  /** Gives the batch to the kernel. After a failure nothing of it is in flight; some of it may have been done. */
  submit(fd: number): void {
    const count = this.#count;
    this.#count = 0;
    if (count === 0) return;
    if (this.#inFlight > 0) throw new KvmError("INVALID", "FileRing.submit", 0, "requests are still in flight");
    const buffers = this.#buffers;
    this.#buffers = [];
    native.fileRingSubmit(this.native, fd, this.#requests, count, buffers);
    this.#inFlight = count;
  }

  /**
   * Waits until something is done; this blocks the thread.
   * @returns how many are, in doneNames and doneResults; 0 when nothing is in flight
   */
  wait(): number {
    if (this.#inFlight === 0) return 0;
    const count = native.fileRingWait(this.native, this.doneNames, this.doneResults);
    this.#inFlight -= count;
    return count;
  }
}
