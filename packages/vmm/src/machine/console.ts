/** A machine's terminal on virtio, as its owner has it: a stream, and how large it is. */
import type { UnixSocket } from "@tools-kvm/kvm-binding";
import type { Device } from "../devices/device.js";
import { setTerminalSize, type TerminalSize } from "../virtio/devices/console/console.js";
import { changeConfig } from "./change-config.js";
import { GuestStream } from "./guest-stream.js";
import type { VirtioWires } from "./virtio.js";

export class Console extends GuestStream {
  readonly #device: Device;
  readonly #wires: VirtioWires;

  constructor(device: Device, wires: VirtioWires, socket: UnixSocket) {
    super(socket);
    this.#device = device;
    this.#wires = wires;
  }

  /** The guest hears of it at once, or reads it when it comes up. */
  resize(size: TerminalSize): void {
    changeConfig(this.#device, this.#wires, (config) => setTerminalSize(config, size));
  }
}
