import { Kind, made, SharableHandle } from "./handle.js";
import { native } from "./load-native.js";

/** eventfd(2): a counter that the kernel, the guest (ioeventfd) and any thread can raise, and that can interrupt a guest (irqfd). */
export class EventFd extends SharableHandle {
  /** A new counter at 0, non-blocking. With `semaphore`, take() takes one at a time. */
  static create(o: { semaphore?: boolean } = {}): EventFd {
    return new EventFd(native.eventfdCreate(o.semaphore ?? false), made);
  }

  static attach(token: number): EventFd {
    return new EventFd(native.attach(token, Kind.eventFd), made);
  }

  /** A duplicate of an eventfd this process has from elsewhere (inherited, received). The descriptor given stays open. */
  static adopt(fd: number): EventFd {
    return new EventFd(native.adopt(fd, Kind.eventFd), made);
  }

  /** Adds to the counter and wakes who waits. A full counter stays full. */
  signal(n = 1): void {
    native.eventfdSignal(this.native, n);
  }

  /** The counter, which is 0 then; 0 when there was nothing. Never blocks. */
  take(): number {
    return native.eventfdTake(this.native);
  }
}

/** CLOCK_MONOTONIC in nanoseconds: exact below 104 days of uptime, 1-2 ns coarse above. */
export function monotonicNs(): number {
  return native.monotonicNs();
}
