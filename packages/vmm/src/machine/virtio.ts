/** A machine's virtio devices: what is in its spec, where each stands, and the eventfds between driver and device. */
import { EventFd, UnixSocket } from "@tools-kvm/kvm-binding";
import type { VirtioDevice } from "../virtio/device.js";
import { balloonDevice } from "../virtio/devices/balloon/balloon.js";
import { blockDevice } from "../virtio/devices/block/block.js";
import { consoleDevice } from "../virtio/devices/console/console.js";
import { entropyDevice } from "../virtio/devices/entropy/entropy.js";
import { netDevice } from "../virtio/devices/net/net.js";
import { shareDevice } from "../virtio/devices/share/share.js";
import { vsockDevice } from "../virtio/devices/vsock/vsock.js";
import { FEATURE } from "../virtio/ids.js";
import { BAR_BYTES, vectorCount } from "../virtio/pci/layout.js";
import { MMIO, MMIO_SIZE_BYTES } from "../virtio/transport-mmio.js";
import { PCI_WINDOWS, VIRTIO_MMIO_BASE } from "./memory-map.js";
import type { MachineSpec, VirtioSpec } from "./spec.js";

/** A device and where its registers and its interrupt are. */
export interface VirtioPlacement {
  readonly spec: VirtioSpec;
  readonly device: VirtioDevice;
  /** On MMIO; on PCI where its BAR is after a reset. */
  readonly base: number;
  /** Of its one interrupt; on PCI of its first vector. */
  readonly gsi: number;
  /** On PCI: its device number. */
  readonly slot?: number;
}

/** ISA's lines that nothing else has, for kernels that know no others, and then the IOAPIC's pins above them. */
const GSIS = [10, 11, 5, 12, 14, 15, 6, 7, 3, 16, 17, 18, 19, 20, 21, 22, 23];
/** Behind the host bridge. */
const FIRST_PCI_SLOT = 1;
/** Behind the IOAPIC's pins. */
const FIRST_VECTOR_GSI = 24;
/** GSIs of INTA of device 0 to 3, and so on in turn: a PC's IOAPIC has them behind ISA's. */
export const INTX_GSIS = [16, 17, 18, 19] as const;
export const MAXIMUM_VIRTIO_DEVICES = GSIS.length;

const SHORT_NAME: Record<VirtioSpec["kind"], string> = {
  block: "blk",
  entropy: "rng",
  net: "net",
  share: "9p",
  balloon: "balloon",
  vsock: "vsock",
  console: "console",
};

export function placeVirtio({
  virtio = [],
  virtioRings = "split",
  bus = "mmio",
}: Pick<MachineSpec, "virtio" | "virtioRings" | "bus">): VirtioPlacement[] {
  const counts = new Map<string, number>();
  let vectorGsi = FIRST_VECTOR_GSI;
  return virtio.map((spec, index) => {
    const number = counts.get(spec.kind) ?? 0;
    counts.set(spec.kind, number + 1);
    const device = withRings(virtioRings, deviceOf(spec, `virtio-${SHORT_NAME[spec.kind]}${number}`));
    if (bus === "pci") {
      const gsi = vectorGsi;
      vectorGsi += vectorCount(device);
      return {
        spec,
        device,
        base: PCI_WINDOWS.base + BAR_BYTES * index,
        gsi,
        slot: FIRST_PCI_SLOT + index,
      };
    }
    return {
      spec,
      device,
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
    case "balloon":
      return balloonDevice({ ...spec, name });
    case "vsock":
      return vsockDevice({ ...spec, name });
    case "console":
      return consoleDevice({ name, ports: spec.ports.map((port) => port.name) });
    case "net":
      return netDevice({ ...spec, name, offloads: spec.link.type === "tap" });
  }
}

/** A PCI function's interrupt line. */
export interface InterruptLine {
  readonly gsi: number;
  readonly raise: EventFd;
  /** The guest has ended the interrupt: the kernel's IOAPIC says so, or with a split irqchip a vCPU for ours. */
  readonly lowered: EventFd;
}

/** The eventfds between the kernel and a device's thread; they outlive a reset. */
export class VirtioWires {
  /** One for each queue: the driver has notified it. */
  readonly kicks: readonly EventFd[];
  /** Signalled to interrupt the driver: one, or on PCI one for each vector. */
  readonly interrupts: readonly EventFd[];
  /** The host wants to know something of the guest: of devices that can be asked. */
  readonly ask: EventFd | undefined;

  /** Of consoles: for each stream whose other end is here that end, and the device's. */
  readonly streams: readonly (readonly [UnixSocket, UnixSocket] | undefined)[];

  /** On PCI, the line for drivers without MSI-X: to raise it, and told when the guest has seen to it. */
  readonly line: InterruptLine | undefined;

  constructor(readonly placement: VirtioPlacement) {
    if (placement.slot !== undefined) {
      const gsi = INTX_GSIS[placement.slot % INTX_GSIS.length]!;
      this.line = { gsi, raise: EventFd.create(), lowered: EventFd.create() };
    }
    this.ask = placement.spec.kind === "balloon" ? EventFd.create() : undefined;
    this.streams = streamsOf(placement.spec).map((isHere) => (isHere ? UnixSocket.pair() : undefined));
    this.kicks = placement.device.queueSizes.map(() => EventFd.create());
    const count = placement.slot === undefined ? 1 : vectorCount(placement.device);
    this.interrupts = Array.from({ length: count }, () => EventFd.create());
  }

  /** Connects them to a VM. */
  connect(
    vm: {
      ioeventfd(o: { eventfd: EventFd; addr: number; lengthBytes: 4; datamatch: number }): void;
      irqfd(o: { eventfd: EventFd; gsi: number; resample?: EventFd }): void;
    },
    irqchip: MachineSpec["irqchip"],
  ): void {
    const { base, gsi } = this.placement;
    const { line } = this;
    this.interrupts.forEach((eventfd, vector) => {
      vm.irqfd({ eventfd, gsi: gsi + vector });
    });
    // On PCI, a vCPU connects the rest when its guest turns the window on.
    if (line !== undefined) {
      const resample = irqchip === "kernel" ? { resample: line.lowered } : {};
      vm.irqfd({ eventfd: line.raise, gsi: line.gsi, ...resample });
      return;
    }
    this.kicks.forEach((eventfd, queue) => {
      vm.ioeventfd({ eventfd, addr: base + MMIO.QUEUE_NOTIFY, lengthBytes: 4, datamatch: queue });
    });
  }

  close(): void {
    for (const kick of this.kicks) kick.close();
    for (const interrupt of this.interrupts) interrupt.close();
    this.line?.raise.close();
    this.line?.lowered.close();
    this.ask?.close();
    for (const pair of this.streams) for (const end of pair ?? []) end.close();
  }
}

/** Whether the other end of each stream is with the machine's owner. */
function streamsOf(spec: VirtioSpec): boolean[] {
  if (spec.kind !== "console") return [];
  return spec.ports.length === 0 ? [true] : spec.ports.map(({ path }) => path === undefined);
}
