/** The entropy device (virtio 1.2, section 5.4): the host's random bytes for the guest. */
import type { VirtioDevice } from "../../device.js";
import { DEVICE_ID } from "../../ids.js";

const QUEUE_SIZE = 64;

export function entropyDevice(name: string): VirtioDevice {
  return { name, deviceId: DEVICE_ID.ENTROPY, features: [], queueSizes: [QUEUE_SIZE], config: new Uint8Array(0) };
}
