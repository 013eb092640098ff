/** What is behind a machine's virtio devices, opened in the thread that serves them. */
import type { DiskImage } from "../block/disk-image.js";
import { openDisk } from "../block/open-disk.js";
import type { VirtioBackend } from "../virtio/device.js";
import { BlockBackend } from "../virtio/devices/block/block-backend.js";
import { EntropyBackend } from "../virtio/devices/entropy/entropy-backend.js";
import type { DiskSpec, VirtioSpec } from "./spec.js";

/** Opens what `spec` names; `log` takes one line. Throws DiskError. */
export function openBackend(spec: VirtioSpec, log: (message: string) => void): VirtioBackend {
  if (spec.kind === "entropy") return new EntropyBackend();
  return new BlockBackend({ disk: openSpecifiedDisk(spec), serial: spec.serial, onError: log });
}

export function openSpecifiedDisk({ path, format, readonly, cache }: Omit<DiskSpec, "sizeBytes">): DiskImage {
  return openDisk(path, { format, readonly, cache });
}
