/** The main thread's side of an I/O Worker: starts it, hears what it has to say, and ends it. */
import { Worker } from "node:worker_threads";
import { EventFd } from "@tools-kvm/kvm-binding";
import type { BalloonStats } from "../virtio/devices/balloon/balloon-stats.js";
import type { GuestRam } from "./guest-ram.js";
import type { IoMessage, ServeMessage } from "./io-worker.js";
import type { MachineSpec } from "./spec.js";
import type { VirtioWires } from "./virtio.js";

export interface IoThreadOptions {
  readonly spec: MachineSpec;
  readonly state: SharedArrayBuffer;
  readonly ram: GuestRam;
  readonly index: number;
  readonly wires: VirtioWires;
  /** One line that the machine's owner should see. */
  readonly onLog: (message: string) => void;
  /** What the guest says of its memory. */
  readonly onStats: (stats: BalloonStats) => void;
  /** The device cannot be served any more. */
  readonly onFailure: (message: string) => void;
}

export class IoThread {
  readonly #worker: Worker;
  readonly #stop = EventFd.create();
  readonly #ended: Promise<void>;

  constructor({ spec, state, ram, index, wires, onLog, onStats, onFailure }: IoThreadOptions) {
    this.#worker = new Worker(new URL("./io-worker.js", import.meta.url), {
      name: wires.placement.device.name,
      // A share opens by openat2, of which Node knows nothing and so warns at each close.
      trackUnmanagedFds: false,
      resourceLimits: { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64, codeRangeSizeMb: 4, stackSizeMb: 1 },
    });
    this.#ended = new Promise((resolve) => {
      this.#worker.on("message", (message: IoMessage) => {
        if (message.type === "log") onLog(message.message);
        else if (message.type === "stats") return onStats(message.stats);
        if (message.type === "failed") onFailure(`${wires.placement.device.name}: ${message.message}`);
        if (message.type !== "log") resolve();
      });
      this.#worker.on("error", (error) => {
        onFailure(`${wires.placement.device.name}: ${error.message}`);
        resolve();
      });
      this.#worker.on("exit", () => resolve());
    });
    this.#worker.postMessage({
      spec,
      state,
      ram: ram.share(),
      index,
      kicks: wires.kicks.map((kick) => kick.share()),
      interrupts: wires.interrupts.map((interrupt) => interrupt.share()),
      line: wires.line && { raise: wires.line.raise.share(), lowered: wires.line.lowered.share() },
      stop: this.#stop.share(),
      ask: wires.ask?.share(),
      streams: wires.streams.map((pair) => pair?.[1].share()),
    } satisfies ServeMessage);
  }

  /** Resolves when what is behind the device has been closed. */
  async end(): Promise<void> {
    this.#stop.signal();
    await this.#ended;
    this.#stop.close();
    await this.#worker.terminate();
  }
}
