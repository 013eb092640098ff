/** Bus 0 of a machine whose virtio devices are PCI functions: how the host bridge finds them, and how they reach the kernel. */
import type { Device, PciConfigSpace, PciPort } from "../devices/device.js";
import { ENTRY } from "../virtio/pci/msix.js";
import { CONFIG_SPACE, type PciState } from "../virtio/transport-pci.js";
import type { PciWiring, RoutedMessage } from "./assembly.js";
import type { Placement } from "./pc.js";

interface PciFunctionPlace {
  readonly device: Device;
  readonly firstGsi: number;
  readonly config: PciConfigSpace;
}

export class PciBus {
  readonly #functions = new Map<number, PciFunctionPlace>();

  constructor(
    placements: readonly Placement[],
    devices: readonly Device[],
    private readonly wiring: PciWiring | undefined,
    /** Tells the kernel of all routes. */
    private readonly route: () => void,
  ) {
    placements.forEach(({ pci }, index) => {
      const device = devices[index]!;
      if (pci !== undefined) this.#functions.set(8 * pci.slot, { ...pci, device, config: configSpace(device) });
    });
  }

  /** Undefined on machines without a PCI bus. */
  portOf({ definition: { name } }: Device): PciPort | undefined {
    const wiring = this.wiring;
    if (this.#functions.size === 0) return undefined;
    return {
      configOf: (deviceAndFunction) => this.#functions.get(deviceAndFunction)?.config,
      moveWindow: (from, to) => wiring?.moveWindow(name, from, to),
      notify: (queue) => wiring?.notify(name, queue),
      raiseLine: () => wiring?.raiseLine(name),
      endLine: (gsi) => wiring?.endLine(gsi),
      routeVectors: this.route,
    };
  }

  /** What the vectors of all functions stand for. */
  messages(): RoutedMessage[] {
    return [...this.#functions.values()].flatMap(messagesOf);
  }
}

/** Vectors that the driver has given no message yet have none. */
function messagesOf({ device, firstGsi }: PciFunctionPlace): RoutedMessage[] {
  const { vectorOf, msixTable } = device.state as PciState;
  const messages: RoutedMessage[] = [];
  for (let vector = 0; vector < vectorOf.length; vector++) {
    const word = (field: number): number => msixTable[ENTRY.WORDS * vector + field]!;
    if (word(ENTRY.ADDRESS) === 0) continue;
    messages.push({
      gsi: firstGsi + vector,
      address: word(ENTRY.ADDRESS),
      addressHigh: word(ENTRY.ADDRESS_HIGH),
      data: word(ENTRY.DATA),
    });
  }
  return messages;
}

/** Behind the device's lock, as every access. */
function configSpace(device: Device): PciConfigSpace {
  const { definition } = device;
  const locked = <T>(act: () => T): T => {
    device.lock();
    try {
      return act();
    } finally {
      device.unlock();
    }
  };
  return {
    read: (register, sizeBytes) =>
      locked(() => definition.read!(device.state, CONFIG_SPACE + register, sizeBytes, device.port)),
    write: (register, sizeBytes, value) =>
      locked(() => definition.write!(device.state, CONFIG_SPACE + register, sizeBytes, value, device.port)),
  };
}
