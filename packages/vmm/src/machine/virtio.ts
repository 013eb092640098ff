/** A machine's virtio devices: what is in its spec, where each stands, and the eventfds between driver and device. */
import { EventFd } from "@tools-kvm/kvm-binding";
import type { VirtioDevice } from "../virtio/device.js";
import { blockDevice } from "../virtio/devices/block/block.js";
import { entropyDevice } from "../virtio/devices/entropy/entropy.js";
import { netDevice } from "../virtio/devices/net/net.js";
import { shareDevice } from "../virtio/devices/share/share.js";
import { FEATURE } from "../virtio/ids.js";
import { MMIO, MMIO_SIZE_BYTES } from "../virtio/transport-mmio.js";
import { VIRTIO_MMIO_BASE } from "./memory-map.js";
import type { MachineSpec, VirtioSpec } from "./spec.js";

/** A device and where its registers and its interrupt are. */
export interface VirtioPlacement {
  readonly spec: VirtioSpec;
  readonly device: VirtioDevice;
  readonly base: number;
  readonly gsi: number;
}

/** ISA's lines that nothing else has, for kernels that know no others, and then the IOAPIC's pins above them. */
const GSIS = [10, 11, 5, 12, 14, 15, 6, 7, 3, 16, 17, 18, 19, 20, 21, 22, 23];
export const MAXIMUM_VIRTIO_DEVICES = GSIS.length;

const SHORT_NAME: Record<VirtioSpec["kind"], string> = { block: "blk", entropy: "rng", net: "net", share: "9p" };

export function placeVirtio({
  virtio = [],
  virtioRings = "split",
}: Pick<MachineSpec, "virtio" | "virtioRings">): VirtioPlacement[] {
  const counts = new Map<string, number>();
  return virtio.map((spec, index) => {
    const number = counts.get(spec.kind) ?? 0;
    counts.set(spec.kind, number + 1);
    return {
      spec,
      device: withRings(virtioRings, deviceOf(spec, `virtio-${SHORT_NAME[spec.kind]}${number}`)),
      base: VIRTIO_MMIO_BASE + MMIO_SIZE_BYTES * index,
      gsi: GSIS[index]!,
    };
  });
}

/** A device that offers packed rings; a driver that knows none goes on with split ones. */
function withRings(rings: MachineSpec["virtioRings"], device: VirtioDevice): VirtioDevice {
  return rings === "packed" ? { ...device, features: [...device.features, FEATURE.RING_PACKED] } : device;
}

function deviceOf(spec: VirtioSpec, name: string): VirtioDevice {
  switch (spec.kind) {
    case "block":
      return blockDevice({ ...spec, name });
    case "entropy":
      return entropyDevice(name);
    case "share":
      return shareDevice({ ...spec, name });
    case "net":
      return netDevice({ ...spec, name, offloads: spec.link.type === "tap" });
  }
}

/** The eventfds between the kernel and a device's thread; they outlive a reset. */
export class VirtioWires {
  /** One for each queue: the driver has notified it. */
  readonly kicks: readonly EventFd[];
  /** Signalled to interrupt the driver. */
  readonly interrupt = EventFd.create();

  constructor(readonly placement: VirtioPlacement) {
    this.kicks = placement.device.queueSizes.map(() => EventFd.create());
  }

  /** Connects them to a VM. */
  connect(vm: {
    ioeventfd(o: { eventfd: EventFd; addr: number; lengthBytes: 4; datamatch: number }): void;
    irqfd(o: { eventfd: EventFd; gsi: number }): void;
  }): void {
    const { base, gsi } = this.placement;
    this.kicks.forEach((eventfd, queue) => {
      vm.ioeventfd({ eventfd, addr: base + MMIO.QUEUE_NOTIFY, lengthBytes: 4, datamatch: queue });
    });
    vm.irqfd({ eventfd: this.interrupt, gsi });
  }

  close(): void {
    for (const kick of this.kicks) kick.close();
    this.interrupt.close();
  }
}
