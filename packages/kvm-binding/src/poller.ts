import { KvmError } from "./error.js";
import { POLLIN } from "./generated/system-constants.js";
import { Handle, made } from "./handle.js";
import { native } from "./load-native.js";

const ADD = 1;
const REMOVE = 2;
const MODIFY = 3;
const MAX_READY = 1024;

/**
 * One synchronous wait over many descriptors, for I/O Workers: eventfds, taps, sockets, perf events. Level-triggered (epoll), so that what
 * was not taken is ready again. Remove a descriptor before closing it.
 */
export class Poller extends Handle {
  /** The keys of what the last wait() found, in its first `n` elements. */
  readonly readyKeys: Int32Array;
  /** POLLIN, POLLOUT, POLLERR, POLLHUP beside each key. */
  readonly readyEvents: Int32Array;

  /** @param o.capacity how many one wait() can report, 1 to 1024; the rest come with the next */
  constructor(o: { capacity?: number } = {}) {
    const { capacity = 64 } = o;
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > MAX_READY) {
      throw new KvmError("INVALID", "Poller", 0, `capacity ${capacity} is not between 1 and ${MAX_READY}`);
    }
    super(native.pollerCreate(), made);
    this.readyKeys = new Int32Array(capacity);
    this.readyEvents = new Int32Array(capacity);
  }

  static create(o: { capacity?: number } = {}): Poller {
    return new Poller(o);
  }

  /** Waits for `events` on the descriptor too. @param key what readyKeys says, a 32-bit integer. @throws KvmError EEXIST, EPERM (plain files) */
  add(h: { fd: number }, key: number, events: number = POLLIN): void {
    native.pollerControl(this.native, ADD, h.fd, key, events);
  }

  modify(h: { fd: number }, key: number, events: number): void {
    native.pollerControl(this.native, MODIFY, h.fd, key, events);
  }

  remove(h: { fd: number }): void {
    native.pollerControl(this.native, REMOVE, h.fd, 0, 0);
  }

  /**
   * Waits until something is ready. This blocks the thread, and worker.terminate() with it: keep an eventfd among the descriptors to wake it.
   * @param timeoutMs 0 looks only; negative waits for ever
   * @returns how many are ready; 0 after the timeout; -1 when a signal interrupted
   */
  wait(timeoutMs: number): number {
    return native.pollerWait(this.native, timeoutMs, this.readyKeys, this.readyEvents);
  }
}
