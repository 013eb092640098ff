/**
 * What an I/O Worker does all day: waits for notifications and for what comes from outside, and gives each queue its turn.
 * While requests come quickly it looks at the queues by itself (virtio/busy-poll.ts).
 */
import { type EventFd, Poller } from "@tools-kvm/kvm-binding";
import { BusyPoll } from "../virtio/busy-poll.js";
import type { VirtioInput } from "../virtio/device.js";
import type { DeviceServer } from "../virtio/server.js";

export interface IoLoopOptions {
  readonly server: DeviceServer;
  readonly input: VirtioInput | undefined;
  /** The driver's notifications, one a queue. */
  readonly kicks: readonly EventFd[];
  /** Ends the loop. */
  readonly stop: EventFd;
  /** Nanoseconds on a monotonic clock. */
  readonly nowNs: () => number;
}

/** Keys of what is no queue. */
const STOP = -1;
const INPUT = -2;

export class IoLoop {
  readonly #options: IoLoopOptions;
  readonly #poller = new Poller();
  readonly #poll: BusyPoll;
  /** Queues that are looked at without being notified of. */
  readonly #watched = new Set<number>();
  #listens = false;

  constructor(options: IoLoopOptions) {
    this.#options = options;
    this.#poll = new BusyPoll(options.nowNs);
  }

  /** Returns when it is told to stop. */
  run(): void {
    const { stop, kicks } = this.#options;
    try {
      this.#poller.add(stop, STOP);
      kicks.forEach((kick, queue) => {
        this.#poller.add(kick, queue);
      });
      while (this.#step());
    } finally {
      this.#poller.close();
    }
  }

  #step(): boolean {
    const isAsleep = this.#watched.size === 0;
    const ready = this.#poller.wait(isAsleep ? -1 : 0);
    if (isAsleep) this.#poll.woke();
    if (!this.#handleReady(ready)) return false;
    this.#serveWatched(ready > 0);
    return true;
  }

  /** False when the loop is to end. */
  #handleReady(ready: number): boolean {
    const { kicks, input } = this.#options;
    for (let i = 0; i < ready; i++) {
      const key = this.#poller.readyKeys[i]!;
      if (key === STOP) return false;
      if (key !== INPUT && kicks[key]!.take() === 0) continue;
      if (key === INPUT || key === input?.queueIndex) this.#deliver();
      else this.#watched.add(key);
    }
    return true;
  }

  /** A queue that is full of requests has its turn, and then the others have theirs. */
  #serveWatched(wasReady: boolean): void {
    const { server } = this.#options;
    let worked = wasReady;
    for (const queue of this.#watched) worked = server.work(queue) || worked;
    if (worked) this.#poll.worked();
    else if (!this.#poll.looksAgain()) {
      for (const queue of this.#watched) if (!server.serve(queue)) this.#watched.delete(queue);
    }
  }

  /** Waits for the input only while there is room for what comes. */
  #deliver(): void {
    const { server, input } = this.#options;
    const wants = server.deliver();
    if (wants !== this.#listens && input !== undefined) {
      if (wants) this.#poller.add(input, INPUT);
      else this.#poller.remove(input);
    }
    this.#listens = wants;
  }
}
