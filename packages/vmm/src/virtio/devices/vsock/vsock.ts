/** The socket device (virtio 1.2, section 5.10): streams between programs of the guest and of the host. */
import type { VirtioDevice } from "../../device.js";
import { DEVICE_ID } from "../../ids.js";

/** Feature bits (section 5.10.3). */
const VSOCK_FEATURE = { STREAM: 0 } as const;
export const VSOCK_QUEUE = { RX: 0, TX: 1, EVENT: 2 } as const;
const QUEUE_SIZE = 128;
const CID_BYTES = 8;

/** Well-known addresses (section 5.10.4): 0 to 2 and the last of 32 bits are no guest's. */
export const HOST_CID = 2;
export const FIRST_GUEST_CID = 3;
export const LAST_GUEST_CID = 0xffff_fffe;

export interface VsockTraits {
  readonly name: string;
  /** The guest's address. */
  readonly cid: number;
}

export function vsockDevice({ name, cid }: VsockTraits): VirtioDevice {
  const config = new Uint8Array(CID_BYTES);
  new DataView(config.buffer).setBigUint64(0, BigInt(cid), true);
  return {
    name,
    deviceId: DEVICE_ID.SOCKET,
    features: [VSOCK_FEATURE.STREAM],
    queueSizes: Object.values(VSOCK_QUEUE).map(() => QUEUE_SIZE),
    config,
  };
}
