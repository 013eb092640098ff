/**
 * A device's queues as the I/O Worker serves them: follows what the driver sets up in the transport's registers, hands
 * each available chain to the backend, and interrupts the driver when it wants to be.
 */
import type { VirtioBackend } from "./device.js";
import { FEATURE, STATUS } from "./ids.js";
import {
  hasFeature,
  holdQueues,
  type MmioState,
  needReset,
  noteInterrupt,
  QUEUE,
  releaseQueues,
  SHARED,
} from "./transport-mmio.js";
import { type QueueMemory, Virtqueue, VirtqueueFault } from "./virtqueue.js";

export interface ServerOptions {
  readonly state: MmioState;
  readonly backend: VirtioBackend;
  readonly memory: QueueMemory;
  /** Interrupts the driver. */
  readonly interrupt: () => void;
  /** Told in one line what the driver did wrong, once until it resets the device. */
  readonly onFault: (message: string) => void;
}

export class DeviceServer {
  readonly #options: ServerOptions;
  readonly #queues = new Map<number, Virtqueue>();
  /** The epoch for which `#queues` is right. */
  #epoch = -1;

  constructor(options: ServerOptions) {
    this.#options = options;
  }

  /** The driver has notified a queue: handles everything that is available in it. */
  serve(queueIndex: number): void {
    const { shared } = this.#options.state;
    holdQueues(shared);
    try {
      const queue = this.#ready(queueIndex);
      if (queue !== undefined) this.#drain(queueIndex, queue);
    } catch (error) {
      if (!(error instanceof VirtqueueFault)) throw error;
      needReset(this.#options.state);
      this.#options.interrupt();
      this.#options.onFault(error.message);
    } finally {
      releaseQueues(shared);
    }
  }

  /** The queue if the driver has it in use. */
  #ready(index: number): Virtqueue | undefined {
    const { state } = this.#options;
    const status = Atomics.load(state.shared, SHARED.STATUS);
    if ((status & STATUS.DRIVER_OK) === 0 || (status & STATUS.DEVICE_NEEDS_RESET) !== 0) return undefined;
    if (this.#epoch !== this.#currentEpoch()) {
      this.#queues.clear();
      this.#epoch = this.#currentEpoch();
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
    return new Virtqueue(memory, layout, {
      indirect: hasFeature(state, FEATURE.RING_INDIRECT_DESC),
      eventIdx: hasFeature(state, FEATURE.RING_EVENT_IDX),
    });
  }

  #drain(index: number, queue: Virtqueue): void {
    const { state, backend } = this.#options;
    const negotiated = { has: (feature: number) => hasFeature(state, feature) };
    do {
      queue.disableNotifications();
      for (let chain = queue.next(); chain !== undefined; chain = queue.next()) {
        queue.complete(chain, backend.handle(index, chain, negotiated));
        // A reset waits for us, and wants nothing more to be touched.
        if (this.#epoch !== this.#currentEpoch()) return;
      }
    } while (queue.enableNotifications());
    if (!queue.takesInterrupt()) return;
    noteInterrupt(state);
    this.#options.interrupt();
  }
}
