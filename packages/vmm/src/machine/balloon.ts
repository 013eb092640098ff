/** A machine's balloon as its owner has it: how much the guest is to give back, how much it has, and what it says of its memory. */
import type { Device } from "../devices/device.js";
import { BALLOON_QUEUE, type BalloonSize, balloonSize, setBalloonTarget } from "../virtio/devices/balloon/balloon.js";
import type { BalloonStats } from "../virtio/devices/balloon/balloon-stats.js";
import type { TransportState } from "../virtio/transport.js";
import { changeConfig } from "./change-config.js";
import type { VirtioWires } from "./virtio.js";

/** A driver answers within microseconds; a guest without one never does. */
const STATS_TIMEOUT_MS = 500;

export interface BalloonReport extends BalloonSize {
  /** What the guest said last; absent when it has said nothing. */
  readonly stats?: BalloonStats | undefined;
}

export class Balloon {
  readonly #device: Device;
  readonly #wires: VirtioWires;
  #stats: BalloonStats | undefined;
  #onStats: (() => void)[] = [];

  constructor(device: Device, wires: VirtioWires) {
    this.#device = device;
    this.#wires = wires;
  }

  get size(): BalloonSize {
    return this.#locked(({ config }) => balloonSize(config));
  }

  /** Asks the guest to give back so much from now on, in whole pages; a driver that comes up later is asked as well. */
  setTarget(sizeBytes: number): void {
    changeConfig(this.#device, this.#wires, (config) => setBalloonTarget(config, sizeBytes));
  }

  /** The guest has said something. */
  receive(stats: BalloonStats): void {
    this.#stats = stats;
    for (const tell of this.#onStats.splice(0)) tell();
  }

  /** Asks the guest for its statistics; those it sent last when it does not answer. */
  async report(): Promise<BalloonReport> {
    const answered = new Promise<void>((resolve) => void this.#onStats.push(resolve));
    const timer = setTimeout(() => {
      for (const giveUp of this.#onStats.splice(0)) giveUp();
    }, STATS_TIMEOUT_MS);
    this.#wires.ask?.signal();
    // Linux sends its first statistics before it is DRIVER_OK, when devices do not look at queues yet.
    this.#wires.kicks[BALLOON_QUEUE.STATS]!.signal();
    await answered;
    clearTimeout(timer);
    return { ...this.size, stats: this.#stats };
  }

  #locked<T>(act: (state: TransportState) => T): T {
    this.#device.lock();
    try {
      return act(this.#device.state as unknown as TransportState);
    } finally {
      this.#device.unlock();
    }
  }
}
