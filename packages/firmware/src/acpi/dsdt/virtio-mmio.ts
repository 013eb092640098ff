import { device, integer, interrupt, memory32Fixed, name, resourceTemplate, string } from "../aml/index.js";
import type { VirtioMmioWindow } from "../machine.js";
import { indexed } from "./names.js";

/** The identifier under which guests know virtio over MMIO; Linaro's registry has it, and no specification does. */
const VIRTIO_MMIO = "LNRO0005";

export function virtioMmio({ base, sizeBytes, irq, trigger = "level" }: VirtioMmioWindow, index: number): Uint8Array {
  return device(
    indexed("V", index),
    name("_HID", string(VIRTIO_MMIO)),
    name("_UID", integer(index)),
    name("_CRS", resourceTemplate(memory32Fixed(base, sizeBytes), interrupt({ gsi: irq, trigger }))),
  );
}
