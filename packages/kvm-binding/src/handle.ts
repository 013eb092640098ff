import { KvmError } from "./error.js";
import { native } from "./load-native.js";
import type { NativeHandle } from "./native.d.ts";

/** Kinds of native handles (native/handle.h). */
export const Kind = {
  kvm: 1 << 0,
  vm: 1 << 1,
  vcpu: 1 << 2,
  eventFd: 1 << 3,
  memory: 1 << 4,
  stats: 1 << 5,
  perf: 1 << 6,
  tap: 1 << 7,
  socket: 1 << 8,
  guestMemfd: 1 << 9,
  device: 1 << 10,
  poller: 1 << 11,
  file: 1 << 12,
  fileRing: 1 << 13,
} as const;

/** Tells constructors that the native handle comes from this package. */
export const made: unique symbol = Symbol("made");

/**
 * What every handle has. A descriptor closes when the last handle over it, in whichever thread, is closed or collected.
 * Using a closed handle throws KvmError `CLOSED`; closing twice is nothing.
 */
export abstract class Handle implements Disposable {
  /** @internal */
  readonly native: NativeHandle;

  /** @internal */
  constructor(native: NativeHandle, by: typeof made) {
    if (by !== made) throw new TypeError(`${new.target.name} has no public constructor: use its static functions`);
    this.native = native;
  }

  /** The file descriptor's number, good until close(). */
  get fd(): number {
    return native.fd(this.native);
  }

  get closed(): boolean {
    return native.closed(this.native);
  }

  close(): void {
    native.close(this.native);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A handle that other threads can have too. */
export abstract class SharableHandle extends Handle {
  /**
   * A token by which another thread of this process gets a handle over the same descriptor: post it, and `attach(token)` there.
   * Good while some handle is open; a token that nobody gave out is refused.
   */
  share(): number {
    return native.share(this.native);
  }
}

/** A handle that takes ioctls. */
export abstract class IoctlHandle extends SharableHandle {
  /**
   * Any ioctl of the binding's table (docs/binding.md) whose argument is a number. Returns the ioctl's result.
   * A request that is not in the table, or not for this kind of handle, is refused with `INVALID`.
   */
  ioctl(request: number, value: number | bigint = 0): number {
    return native.ioctl(this.native, request, value);
  }

  /**
   * Any ioctl of the binding's table whose argument is a struct without pointers; the kernel reads and writes `bytes`.
   * Bytes shorter than the struct (for a counted one: head and entries) are refused with `INVALID`.
   */
  ioctlBytes(request: number, bytes: Uint8Array): number {
    return native.ioctlBytes(this.native, request, bytes);
  }
}

/** The number of whole units in `value`, or INVALID. */
export function wholeNumber(value: number, what: string, low: number, high: number): number {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new KvmError("INVALID", what, 0, `${value} is not a whole number between ${low} and ${high}`);
  }
  return value;
}
