/**
 * What an I/O Worker does all day: waits for notifications and for what comes from outside, and gives each queue its turn.
 * While requests come quickly it looks at the queues by itself (virtio/busy-poll.ts).
 */
import { type EventFd, POLLERR, POLLHUP, POLLIN, POLLPRI, Poller } from "@tools-kvm/kvm-binding";
import { BusyPoll } from "../virtio/busy-poll.js";
import type { VirtioBackend } from "../virtio/device.js";
import type { RateLimit } from "../virtio/rate-limit.js";
import type { DeviceServer } from "../virtio/server.js";

export interface IoLoopOptions {
  readonly server: DeviceServer;
  readonly backend: VirtioBackend;
  /** The driver's notifications, one a queue. */
  readonly kicks: readonly EventFd[];
  /** The interrupt line that interrupts the driver has gone down: `again` raises it if there is still a reason. */
  readonly line?: { readonly lowered: EventFd; again(): void } | undefined;
  /** Ends the loop. */
  readonly stop: EventFd;
  /** Nanoseconds on a monotonic clock. */
  readonly nowNs: () => number;
}

/** Keys of what is no queue. */
const STOP = -1;
const INPUT = -2;
const LINE = -3;
const HOST = -4;
/**
 * Errors and hang-ups only: no tap or stream socket has urgent data. Not 0: a tap that is deleted says so to those alone
 * who wait for something to read.
 */
const END_ONLY = POLLPRI;
/** How often queues are looked at before it is asked what else has come, which is a system call. */
const LOOKS = 4;
/** Long enough for what memory answers; a slow disk's turn is the only one. */
const MOST_LOOKS_NS = 100_000;
const NS_IN_MS = 1e6;
/** What a timeout can be; a limit that is spent for longer is looked at again. */
const MOST_TIMEOUT_MS = 60_000;

/** How long the host's side may take for what an ended machine's guest has said last, and how often it is looked after at least. */
const LAST_NS = 1e9;
const LAST_WAIT_MS = 10;

export class IoLoop {
  readonly #options: IoLoopOptions;
  readonly #poller = new Poller();
  readonly #poll: BusyPoll;
  /** Queues that are looked at without being notified of. */
  readonly #watched = new Set<number>();
  #listens = false;
  #inputIsGone = false;
  /** The input has been left alone because its limit is spent. */
  #holdsBack = false;

  constructor(options: IoLoopOptions) {
    this.#options = options;
    this.#poll = new BusyPoll(options.nowNs);
  }

  /** Returns when it is told to stop. */
  run(): void {
    const { stop, kicks, backend, line } = this.#options;
    try {
      if (line !== undefined) this.#poller.add(line.lowered, LINE);
      this.#poller.add(stop, STOP);
      kicks.forEach((kick, queue) => {
        this.#poller.add(kick, queue);
      });
      // Its end is heard of at any time.
      if (backend.input !== undefined) this.#poller.add(backend.input, INPUT, END_ONLY);
      if (backend.attendant !== undefined) this.#poller.add(backend.attendant, HOST);
      while (this.#step());
      this.#attendLast();
    } finally {
      this.#poller.close();
    }
  }

  /** What the guest has said last is heard, as fast as there is room for it. */
  #attendLast(): void {
    const { server, backend, nowNs, stop } = this.#options;
    if (backend.attendant === undefined) return;
    this.#poller.remove(stop);
    const end = nowNs() + LAST_NS;
    for (;;) {
      server.attend();
      if (!backend.attendant.isBehind || nowNs() > end) return;
      this.#poller.wait(LAST_WAIT_MS);
    }
  }

  #step(): boolean {
    const timeoutMs = this.#timeoutMs();
    const ready = this.#poller.wait(timeoutMs);
    if (timeoutMs !== 0) this.#poll.woke();
    if (!this.#handleReady(ready)) return false;
    if (this.#holdsBack && waitNs(this.#options.backend.input?.limit) === 0) this.#deliver(false);
    this.#serveWatched(ready > 0);
    return true;
  }

  /** For how long there is nothing to do but to wait: not at all with queues to look at, unless a limit is spent. */
  #timeoutMs(): number {
    const { limit, input } = this.#options.backend;
    const queues = this.#watched.size > 0 ? waitNs(limit) : Number.POSITIVE_INFINITY;
    const held = this.#holdsBack ? waitNs(input?.limit) : Number.POSITIVE_INFINITY;
    const least = Math.min(queues, held);
    return least === Number.POSITIVE_INFINITY ? -1 : Math.min(MOST_TIMEOUT_MS, Math.ceil(least / NS_IN_MS));
  }

  /** False when the loop is to end. */
  #handleReady(ready: number): boolean {
    const { kicks, backend, server } = this.#options;
    let isAttended = false;
    for (let i = 0; i < ready; i++) {
      const key = this.#poller.readyKeys[i]!;
      if (key === STOP) return false;
      if (key === LINE) {
        this.#lineLowered();
        continue;
      }
      if (key === HOST) {
        isAttended = true;
        continue;
      }
      if (key !== INPUT && kicks[key]!.take() === 0) continue;
      if (backend.attendant !== undefined) {
        isAttended = true;
        continue;
      }
      const hasEnded = key === INPUT && (this.#poller.readyEvents[i]! & (POLLHUP | POLLERR)) !== 0;
      if (key === INPUT || key === backend.input?.queueIndex) this.#deliver(hasEnded);
      else this.#watched.add(key);
    }
    if (isAttended) server.attend();
    return true;
  }

  #lineLowered(): void {
    const { line } = this.#options;
    if (line !== undefined && line.lowered.take() > 0) line.again();
  }

  /** A queue that is full of requests has its turn, and then the others have theirs. */
  #serveWatched(wasReady: boolean): void {
    const { server, backend } = this.#options;
    if (waitNs(backend.limit) > 0) return;
    let worked = wasReady;
    const start = this.#options.nowNs();
    for (let look = 0; look < LOOKS; look++) {
      let found = false;
      for (const queue of this.#watched) found = server.work(queue) || found;
      worked ||= found;
      if (!found || this.#options.nowNs() - start > MOST_LOOKS_NS) break;
    }
    if (worked) this.#poll.worked();
    else if (!this.#poll.looksAgain()) {
      for (const queue of this.#watched) if (!server.serve(queue)) this.#watched.delete(queue);
    }
  }

  /** Waits for the input only while there is room for what comes. One that has ended is not waited for any more. */
  #deliver(hasEnded: boolean): void {
    const { server, backend } = this.#options;
    const { input } = backend;
    if (input === undefined || this.#inputIsGone) return;
    const mayGo = waitNs(input.limit) === 0 && server.deliver();
    if (hasEnded) server.endInput();
    this.#inputIsGone = server.inputHasEnded;
    this.#holdsBack = !this.#inputIsGone && waitNs(input.limit) > 0;
    const wants = mayGo && !this.#holdsBack;
    if (this.#inputIsGone) this.#poller.remove(input);
    else if (wants !== this.#listens) this.#poller.modify(input, INPUT, wants ? POLLIN : END_ONLY);
    this.#listens = wants;
  }
}

function waitNs(limit: RateLimit | undefined): number {
  return limit === undefined ? 0 : limit.waitNs();
}
