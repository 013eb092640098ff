/** The network device (virtio 1.2, section 5.1): what its driver is told. */
import type { VirtioDevice } from "../../device.js";
import { DEVICE_ID } from "../../ids.js";

export const NET_FEATURE = {
  CSUM: 0,
  GUEST_CSUM: 1,
  MTU: 3,
  MAC: 5,
  GUEST_TSO4: 7,
  GUEST_TSO6: 8,
  HOST_TSO4: 11,
  HOST_TSO6: 12,
  MRG_RXBUF: 15,
  STATUS: 16,
} as const;

/** Queues of the one pair that there is (section 5.1.2). */
export const QUEUE = { RECEIVE: 0, TRANSMIT: 1 } as const;
const QUEUE_SIZE = 256;
/** struct virtio_net_hdr with num_buffers, which a modern device always has (section 5.1.6). */
export const HEADER_BYTES = 12;
export const NUM_BUFFERS_OFFSET = 10;

/** Offsets in the configuration space (section 5.1.4). */
const CONFIG = { MAC: 0, STATUS: 6, MTU: 10, BYTES: 12 } as const;
const STATUS_LINK_UP = 1;
export const MAC_BYTES = 6;

export interface NetTraits {
  readonly name: string;
  readonly mac: readonly number[];
  readonly mtu: number;
  /** The other side takes and gives frames whose checksums are still to be made, and frames still to be cut. */
  readonly offloads: boolean;
}

export function netDevice({ name, mac, mtu, offloads }: NetTraits): VirtioDevice {
  const config = new Uint8Array(CONFIG.BYTES);
  config.set(mac, CONFIG.MAC);
  const view = new DataView(config.buffer);
  view.setUint16(CONFIG.STATUS, STATUS_LINK_UP, true);
  view.setUint16(CONFIG.MTU, mtu, true);
  const { MAC, STATUS, MTU, MRG_RXBUF, CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, HOST_TSO4, HOST_TSO6 } = NET_FEATURE;
  const offloadFeatures = [CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, HOST_TSO4, HOST_TSO6];
  return {
    name,
    deviceId: DEVICE_ID.NETWORK,
    features: [MAC, STATUS, MTU, MRG_RXBUF, ...(offloads ? offloadFeatures : [])],
    queueSizes: [QUEUE_SIZE, QUEUE_SIZE],
    config,
  };
}

/** The link is down. */
export function setLinkDown(config: Uint8Array): void {
  const view = new DataView(config.buffer, config.byteOffset, config.byteLength);
  view.setUint16(CONFIG.STATUS, view.getUint16(CONFIG.STATUS, true) & ~STATUS_LINK_UP, true);
}
