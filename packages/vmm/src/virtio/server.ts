/**
 * A device's queues as the I/O Worker serves them: follows what the driver sets up in the transport's registers, hands
 * each available chain to the backend, and interrupts the driver when it wants to be.
 */
import type { VirtioBackend } from "./device.js";
import { FEATURE, INTERRUPT, STATUS } from "./ids.js";
import { PackedQueue } from "./packed-queue.js";
import { SplitQueue } from "./split-queue.js";
import {
  hasFeature,
  holdQueues,
  isHeldOff,
  needReset,
  noteInterrupt,
  QUEUE,
  releaseQueues,
  SHARED,
  type TransportState,
} from "./transport.js";
import { type DescriptorChain, type QueueMemory, type Virtqueue, VirtqueueFault } from "./virtqueue.js";

/** A chain is done, with so many bytes written to it. */
type Done = (chain: DescriptorChain, writtenBytes: number) => void;

export interface ServerOptions {
  readonly state: TransportState;
  readonly backend: VirtioBackend;
  readonly memory: QueueMemory;
  /** Interrupts the driver because of a queue, or because of the configuration. */
  readonly interrupt: (queue?: number) => void;
  /** Told in one line what the driver did wrong, once until it resets the device. */
  readonly onFault: (message: string) => void;
  /** Nanoseconds on a monotonic clock. */
  readonly nowNs: () => number;
}

/**
 * Chains that are handled before other queues, and whoever wants the device to stop, get their turn. A driver that never
 * lets its queue run dry, or a request that makes the next one available, would otherwise keep them waiting for ever.
 */
export const CHAINS_A_TURN = 64;
/**
 * How long the driver waits to hear of a chain that is done, while the device is at the next ones. Short against what a
 * disk takes, so that the first of many slow requests is not held up by the last; long against what a request costs that
 * memory can answer, so that many of those are one interrupt.
 */
const INTERRUPT_DELAY_NS = 50_000;

export class DeviceServer {
  readonly #options: ServerOptions;
  readonly #queues = new Map<number, Virtqueue>();
  /** The epoch for which `#queues` is right. */
  #epoch = -1;
  #inputEnded = false;
  readonly #negotiated = { has: (feature: number) => hasFeature(this.#options.state, feature) };

  constructor(options: ServerOptions) {
    this.#options = options;
  }

  /** The driver has notified a queue: handles what is available in it. True when its turn ended before the queue did. */
  serve(queueIndex: number): boolean {
    return this.#atQueues(() => {
      const queue = this.#ready(queueIndex);
      return queue !== undefined && this.#turn(queueIndex, queue, true) === "more";
    });
  }

  /**
   * Handles what is available in a queue, up to a turn, and leaves the driver's notifications as they are: for whoever looks
   * again by himself. `serve` ends that. True when there was something, or the limit lets it wait.
   */
  work(queueIndex: number): boolean {
    return this.#atQueues(() => {
      const queue = this.#ready(queueIndex);
      return queue !== undefined && this.#turn(queueIndex, queue, false) !== "nothing";
    });
  }

  /** Does something with the queues while nobody resets them. False after a driver's fault. */
  #atQueues(act: () => boolean): boolean {
    const { shared } = this.#options.state;
    holdQueues(shared);
    try {
      return act();
    } catch (error) {
      if (!(error instanceof VirtqueueFault)) throw error;
      needReset(this.#options.state);
      this.#options.interrupt();
      this.#options.onFault(error.message);
      return false;
    } finally {
      releaseQueues(shared);
    }
  }

  /**
   * Something has come from outside, or the driver has added buffers for it. True when more can be taken at once: the
   * input is worth waiting for.
   */
  deliver(): boolean {
    const { input } = this.#options.backend;
    if (input === undefined || this.#inputEnded) return false;
    return this.#atQueues(() => {
      const queue = this.#ready(input.queueIndex);
      if (queue === undefined) return false;
      queue.disableNotifications();
      let result: ReturnType<typeof input.deliver>;
      do result = input.deliver(queue, this.#negotiated);
      while (queue.enableNotifications() && result === "full");
      this.#tell(input.queueIndex, queue);
      if (result !== "ended") return result === "empty";
      this.#inputEnded = true;
      this.#showEnd();
      return false;
    });
  }

  /** Lets a device that sees to its queues by itself do so. */
  attend(): void {
    const { attendant } = this.#options.backend;
    this.#atQueues(() => {
      const announceConfig = (): void => this.#interrupt(INTERRUPT.CONFIGURATION_CHANGE);
      attendant?.attend((index) => this.#ready(index), this.#negotiated, announceConfig);
      if (this.#epoch === this.#currentEpoch()) for (const [index, queue] of this.#queues) this.#tell(index, queue);
      return false;
    });
  }

  get inputHasEnded(): boolean {
    return this.#inputEnded;
  }

  /** Nothing will come from outside any more, whether or not the driver has buffers for what may still be there. */
  endInput(): void {
    if (this.#inputEnded) return;
    this.#atQueues(() => {
      this.#inputEnded = true;
      this.#showEnd();
      return false;
    });
  }

  #showEnd(): void {
    const { state, backend } = this.#options;
    backend.input?.configAfterEnd?.(state.config);
    state.configGeneration++;
    this.#interrupt(INTERRUPT.CONFIGURATION_CHANGE);
  }

  #interrupt(why: number, queue?: number): void {
    noteInterrupt(this.#options.state, why);
    this.#options.interrupt(queue);
  }

  /** The queue if the driver has it in use. */
  #ready(index: number): Virtqueue | undefined {
    const { state, backend } = this.#options;
    if (backend.silentQueues?.includes(index) || isHeldOff(state)) return undefined;
    const status = Atomics.load(state.shared, SHARED.STATUS);
    if ((status & STATUS.DRIVER_OK) === 0 || (status & STATUS.DEVICE_NEEDS_RESET) !== 0) return undefined;
    if (this.#epoch !== this.#currentEpoch()) {
      this.#queues.clear();
      this.#epoch = this.#currentEpoch();
      // A reset has made the configuration space what it was at first.
      if (this.#inputEnded) this.#showEnd();
    }
    if (state.queues[QUEUE.WORDS * index + QUEUE.READY] !== 1) return undefined;
    const known = this.#queues.get(index);
    if (known !== undefined) return known;
    const queue = this.#open(index);
    this.#queues.set(index, queue);
    return queue;
  }

  #currentEpoch(): number {
    return Atomics.load(this.#options.state.shared, SHARED.EPOCH);
  }

  #open(index: number): Virtqueue {
    const { state, memory } = this.#options;
    const word = (field: number): number => state.queues[QUEUE.WORDS * index + field]!;
    const address = (field: number): number => word(field + 1) * 2 ** 32 + word(field);
    const layout = {
      size: word(QUEUE.SIZE),
      descriptors: address(QUEUE.DESC),
      driver: address(QUEUE.DRIVER),
      device: address(QUEUE.DEVICE),
    };
    const Queue = hasFeature(state, FEATURE.RING_PACKED) ? PackedQueue : SplitQueue;
    return new Queue(memory, layout, {
      indirect: hasFeature(state, FEATURE.RING_INDIRECT_DESC),
      eventIdx: hasFeature(state, FEATURE.RING_EVENT_IDX),
    });
  }

  /** One turn of a queue: `more` when it ended before the queue did. With `untilDry` the driver notifies of what comes later. */
  #turn(index: number, queue: Virtqueue, untilDry: boolean): "more" | "dry" | "nothing" {
    const { backend, nowNs } = this.#options;
    const { limit } = backend;
    queue.disableNotifications();
    let toldNs = nowNs();
    let handled = 0;
    const done: Done = (chain, writtenBytes) => {
      queue.complete(chain, writtenBytes);
      handled++;
      if (nowNs() - toldNs >= INTERRUPT_DELAY_NS) {
        this.#tell(index, queue);
        toldNs = nowNs();
      }
    };
    let isDry = false;
    for (let left = CHAINS_A_TURN; left > 0; left--) {
      if (limit !== undefined && limit.waitNs() > 0) break;
      const chain = queue.next();
      if (chain === undefined) {
        isDry = !untilDry || !queue.enableNotifications();
        if (isDry) break;
        continue;
      }
      if (backend.handleAll === undefined || limit !== undefined) {
        done(chain, backend.handle(index, chain, this.#negotiated));
      } else {
        left -= this.#handleAll(index, queue, chain, left - 1, done);
      }
      // A reset waits for us, and wants nothing more to be touched.
      if (this.#epoch !== this.#currentEpoch()) return handled > 0 ? "dry" : "nothing";
    }
    if (handled > 0) this.#tell(index, queue);
    if (!isDry) return "more";
    return handled > 0 ? "dry" : "nothing";
  }

  /** Handles a chain and those behind it, at most `most` of them: how many. */
  #handleAll(index: number, queue: Virtqueue, first: DescriptorChain, most: number, done: Done): number {
    const { backend } = this.#options;
    const chains = [first];
    let fault: unknown;
    try {
      while (chains.length <= most) {
        const chain = queue.next();
        if (chain === undefined) break;
        chains.push(chain);
      }
    } catch (error) {
      // What came before it is handled.
      fault = error;
    }
    if (chains.length > 1) backend.handleAll!(index, chains, this.#negotiated, done);
    else done(first, backend.handle(index, first, this.#negotiated));
    if (fault !== undefined) throw fault;
    return chains.length - 1;
  }

  /** Interrupts the driver if it wants to know of what was completed. */
  #tell(index: number, queue: Virtqueue): void {
    if (queue.takesInterrupt()) this.#interrupt(INTERRUPT.USED_BUFFER, index);
  }
}
