/**
 * Pausing the virtio devices of a machine. Their threads hold a lock while they are at the queues (transport.ts), so
 * whoever holds it instead knows that nothing reaches guest memory, and nothing the disk, until it lets go.
 */
import { releaseQueues, tryHoldQueues, untilQueuesFree } from "../virtio/transport.js";

/** How often it is looked whether somebody still wants the pause. */
const LOOK_MS = 50;

export class IoPause {
  readonly #devices: readonly Uint32Array[];
  readonly #held = new Set<Uint32Array>();

  /** @param devices the shared words of each device's registers */
  constructor(devices: readonly Uint32Array[]) {
    this.#devices = devices;
  }

  /**
   * Resolves when every device stands still; earlier, and then with all let go, when `isDue` is no longer true. A device
   * that is not done with its request after `timeoutMs` is left as it is: a disk may take long.
   */
  async hold(timeoutMs: number, isDue: () => boolean): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    await Promise.all(this.#devices.map((device) => this.#holdOne(device, deadline, isDue)));
    if (!isDue()) this.release();
  }

  async #holdOne(device: Uint32Array, deadline: number, isDue: () => boolean): Promise<void> {
    while (!this.#held.has(device) && isDue() && performance.now() < deadline) {
      if (tryHoldQueues(device)) this.#held.add(device);
      else await untilQueuesFree(device, LOOK_MS);
    }
  }

  /** Lets the devices go on. */
  release(): void {
    for (const device of this.#held) releaseQueues(device);
    this.#held.clear();
  }
}
