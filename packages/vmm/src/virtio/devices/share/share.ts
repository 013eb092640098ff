/**
 * The 9P transport device: a shared folder, found by its tag (Linux, Documentation/filesystems/9p.rst and
 * include/uapi/linux/virtio_9p.h; the virtio specification only reserves its number).
 */
import type { VirtioDevice } from "../../device.js";
import { DEVICE_ID } from "../../ids.js";

const FEATURE_MOUNT_TAG = 0;
const QUEUE_SIZE = 128;
const TAG_OFFSET = 2;
/** What the configuration space has room for. */
export const MOST_TAG_BYTES = 128;

export interface ShareTraits {
  readonly name: string;
  /** What the guest mounts. */
  readonly tag: string;
}

export function shareDevice({ name, tag }: ShareTraits): VirtioDevice {
  const bytes = new TextEncoder().encode(tag);
  const config = new Uint8Array(TAG_OFFSET + bytes.length);
  new DataView(config.buffer).setUint16(0, bytes.length, true);
  config.set(bytes, TAG_OFFSET);
  return { name, deviceId: DEVICE_ID.TRANSPORT_9P, features: [FEATURE_MOUNT_TAG], queueSizes: [QUEUE_SIZE], config };
}
