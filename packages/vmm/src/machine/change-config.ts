/** Changes of a virtio device's configuration space that come from the machine's owner. */
import type { Device } from "../devices/device.js";
import { INTERRUPT, STATUS } from "../virtio/ids.js";
import { noteInterrupt, SHARED, type TransportState } from "../virtio/transport.js";
import type { VirtioWires } from "./virtio.js";
import { interruptBy } from "./virtio-interrupt.js";

/** Changes it and interrupts the driver (virtio 1.2, section 2.5); one that comes up later reads it as it is then. */
export function changeConfig(device: Device, wires: VirtioWires, change: (config: Uint8Array) => void): void {
  device.lock();
  try {
    const state = device.state as unknown as TransportState;
    change(state.config);
    state.configGeneration++;
    if ((Atomics.load(state.shared, SHARED.STATUS) & STATUS.DRIVER_OK) === 0) return;
    noteInterrupt(state, INTERRUPT.CONFIGURATION_CHANGE);
    interruptBy(state, wires.interrupts, wires.line?.raise)();
  } finally {
    device.unlock();
  }
}
