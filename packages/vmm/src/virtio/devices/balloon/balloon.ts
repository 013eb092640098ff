/** The memory balloon (virtio 1.2, section 5.5): memory that the guest gives back to the host, and may have again. */
import type { VirtioDevice } from "../../device.js";
import { DEVICE_ID } from "../../ids.js";

/** Feature bits (section 5.5.3). */
export const BALLOON_FEATURE = { STATS_VQ: 1, DEFLATE_ON_OOM: 2, PAGE_REPORTING: 5 } as const;

/**
 * Queues (section 5.5.2). REPORTING is 4 there; drivers that leave no gap for the queue of free page hints, which is not offered,
 * take 3 for it: Linux does.
 */
export const BALLOON_QUEUE = { INFLATE: 0, DEFLATE: 1, STATS: 2, REPORTING_WITHOUT_GAP: 3, REPORTING: 4 } as const;
const QUEUE_SIZE = 128;

/** Offsets in the configuration space (section 5.5.4). */
export const BALLOON_CONFIG = { NUM_PAGES: 0, ACTUAL: 4, SIZE_BYTES: 8 } as const;

/** Pages are of 4 KiB whatever the guest's are (section 5.5.6). */
export const BALLOON_PAGE_BYTES = 4096;

export interface BalloonTraits {
  readonly name: string;
  /** What the guest is to give back at first, in whole pages. */
  readonly sizeBytes: number;
}

export function balloonDevice({ name, sizeBytes }: BalloonTraits): VirtioDevice {
  const config = new Uint8Array(BALLOON_CONFIG.SIZE_BYTES);
  new DataView(config.buffer).setUint32(BALLOON_CONFIG.NUM_PAGES, sizeBytes / BALLOON_PAGE_BYTES, true);
  return {
    name,
    deviceId: DEVICE_ID.BALLOON,
    features: Object.values(BALLOON_FEATURE),
    queueSizes: Object.values(BALLOON_QUEUE).map(() => QUEUE_SIZE),
    config,
    keptConfig: [BALLOON_CONFIG.NUM_PAGES, BALLOON_CONFIG.ACTUAL],
    driverConfig: [BALLOON_CONFIG.ACTUAL, BALLOON_CONFIG.SIZE_BYTES],
  };
}

/** What the configuration space says, in bytes: what the guest is to give back, and what its driver says that it has given. */
export interface BalloonSize {
  readonly targetBytes: number;
  readonly actualBytes: number;
}

export function balloonSize(config: Uint8Array): BalloonSize {
  const view = viewOf(config);
  return {
    targetBytes: view.getUint32(BALLOON_CONFIG.NUM_PAGES, true) * BALLOON_PAGE_BYTES,
    actualBytes: view.getUint32(BALLOON_CONFIG.ACTUAL, true) * BALLOON_PAGE_BYTES,
  };
}

export function setBalloonTarget(config: Uint8Array, targetBytes: number): void {
  viewOf(config).setUint32(BALLOON_CONFIG.NUM_PAGES, targetBytes / BALLOON_PAGE_BYTES, true);
}

const viewOf = ({ buffer, byteOffset, length }: Uint8Array) => new DataView(buffer, byteOffset, length);
