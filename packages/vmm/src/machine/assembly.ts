/**
 * A machine's devices, buses and control words, bound over one shared buffer. The main thread and every Worker
 * assemble the same machine from the same spec; what differs is only how each reaches the kernel (`Wiring`).
 */
import { Bus, MovableWindow, type Window } from "../bus/bus.js";
import { DEVICE_ALIGN_BYTES, Device, type DevicePort, layoutOf } from "../devices/device.js";
import { routedPins, setPin } from "../devices/ioapic/ioapic.js";
import { SharedLock } from "../state/lock.js";
import type { PciState } from "../virtio/transport-pci.js";
import { ControlWord, type MachineControl, machineControl, ROUTES_LOCK, vcpuControl } from "./control.js";
import { OutputRing, RING_HEADER_BYTES } from "./output-ring.js";
import { OUTPUT_BYTES, type OutputName, type PlacedWindow, type Placement, placeDevices } from "./pc.js";
import { PciBus } from "./pci-bus.js";
import type { MachineSpec } from "./spec.js";

/** How the thread that holds this assembly reaches the world outside the devices. */
export interface Wiring {
  /** Drives a line of the in-kernel interrupt controllers. */
  irqLine(gsi: number, level: 0 | 1): void;
  sendMsi(address: number, data: number): void;
  /** Split irqchip: the IOAPIC's pins stand for these messages from now on, and the vectors of PCI functions. */
  routeMsis(messages: readonly RoutedMessage[]): void;
  /** Where there are PCI functions and this thread is a vCPU's. */
  readonly pci?: PciWiring;
  /** An output has bytes and its reader sleeps. */
  wakeReader(output: OutputName): void;
  request(request: MachineRequest): void;
  /** Guest RAM and fw_cfg's items, as DevicePort has them. */
  memory: DevicePort["memory"];
  fwCfgItem: DevicePort["fwCfgItem"];
  flash: DevicePort["flash"];
  nowNs(): number;
  wallClockMs(): number;
}

/** How a PCI function reaches the kernel and its own thread. */
export interface PciWiring {
  /** Connects the notification addresses of the function's queues; 0 is nowhere. */
  moveWindow(device: string, from: number, to: number): void;
  notify(device: string, queue: number): void;
  raiseLine(device: string): void;
  /** The vectors of all functions, and beside them the routes of the kernel's own interrupt controllers. */
  routeVectors(messages: readonly RoutedMessage[]): void;
  /** Functions on that line with a reason left are to raise it again. */
  endLine(gsi: number): void;
}

/** A message signalled interrupt. */
export interface MsiMessage {
  readonly address: number;
  /** The upper half of the address; 0 when left out. */
  readonly addressHigh?: number;
  readonly data: number;
}

export type RoutedMessage = MsiMessage & { readonly gsi: number };

/** What a device asked of the machine. */
export interface MachineRequest {
  readonly kind: "poweroff" | "reset" | "exit" | "panic";
  /** The guest's exit status; 0 unless the kind is `exit`. */
  readonly status: number;
  /** The device that asked. */
  readonly device: string;
}

/** An access to one window in one direction, as the exit ledger names it. */
export interface NamedExit {
  readonly bus: PlacedWindow["bus"];
  readonly direction: "read" | "write";
  readonly device: string;
  readonly base: number;
}

/** The ledger's slots below this are one for each exit reason; a window has two from here on. */
export const FIRST_DEVICE_SLOT = 64;

interface Layout {
  readonly placements: readonly Placement[];
  readonly vcpuOffsets: readonly number[];
  readonly deviceOffsets: readonly number[];
  readonly ringOffsets: ReadonlyMap<OutputName, number>;
  readonly sizeBytes: number;
}

function layOut(spec: MachineSpec): Layout {
  let offset = 0;
  const take = (sizeBytes: number): number => {
    const at = offset;
    offset += Math.ceil(sizeBytes / DEVICE_ALIGN_BYTES) * DEVICE_ALIGN_BYTES;
    return at;
  };
  take(machineControl.sizeBytes); // at 0
  const vcpuOffsets = Array.from({ length: spec.cpus }, () => take(vcpuControl.sizeBytes));
  const placements = placeDevices(spec);
  const deviceOffsets = placements.map(({ definition }) => take(layoutOf(definition).sizeBytes));
  const ringOffsets = new Map<OutputName, number>();
  for (const name of Object.keys(OUTPUT_BYTES) as OutputName[]) {
    ringOffsets.set(name, take(RING_HEADER_BYTES + OUTPUT_BYTES[name]));
  }
  return { placements, vcpuOffsets, deviceOffsets, ringOffsets, sizeBytes: offset };
}

/** Fresh shared memory for a machine's devices and control words. */
export function createState(spec: MachineSpec): SharedArrayBuffer {
  return new SharedArrayBuffer(layOut(spec).sizeBytes);
}

/** Every named exit in the order of its slots: the first has slot FIRST_DEVICE_SLOT. */
export function namedExits(spec: MachineSpec): NamedExit[] {
  return placeDevices(spec).flatMap(({ definition, windows }) =>
    windows.flatMap(({ bus, base }) =>
      (["read", "write"] as const).map((direction) => ({ bus, direction, device: definition.name, base })),
    ),
  );
}

export class Assembly {
  readonly control: MachineControl;
  readonly command: ControlWord;
  readonly vcpuStates: readonly ControlWord[];
  readonly devices: readonly Device[];
  readonly placements: readonly Placement[];
  readonly pio: Bus;
  readonly mmio: Bus;
  readonly outputs: ReadonlyMap<OutputName, OutputRing>;
  readonly routesLock: SharedLock;
  readonly #wiring: Wiring;

  constructor(spec: MachineSpec, state: SharedArrayBuffer, wiring: Wiring) {
    const layout = layOut(spec);
    this.#wiring = wiring;
    this.control = machineControl.bind(state, 0);
    this.command = new ControlWord(state, 0);
    this.routesLock = new SharedLock(new Int32Array(state), ROUTES_LOCK);
    this.vcpuStates = layout.vcpuOffsets.map((offset) => new ControlWord(state, offset));
    this.placements = layout.placements;
    this.outputs = new Map(
      [...layout.ringOffsets].map(([name, offset]) => [name, new OutputRing(state, offset, OUTPUT_BYTES[name])]),
    );
    this.devices = layout.placements.map(
      ({ definition }, index) => new Device(definition, layoutOf(definition), state, layout.deviceOffsets[index]!),
    );
    this.#connect();
    const windows = this.#windows();
    this.pio = new Bus("pio", windows.pio);
    this.mmio = new Bus("mmio", windows.mmio, windows.movable);
  }

  /** The device of that name; throws when the machine has none. */
  device(name: string): Device {
    const device = this.devices.find(({ definition }) => definition.name === name);
    if (device === undefined) throw new Error(`this machine has no device named ${name}`);
    return device;
  }

  /** Power-on state for every device. Call once, on one thread, before any vCPU runs. */
  reset(): void {
    for (const device of this.devices) device.reset();
  }

  #windows(): { pio: Window[]; mmio: Window[]; movable: MovableWindow[] } {
    const windows = { pio: [] as Window[], mmio: [] as Window[], movable: [] as MovableWindow[] };
    let slot = FIRST_DEVICE_SLOT;
    this.placements.forEach((placement, index) => {
      for (const { bus, base, sizeBytes, deviceOffset = 0, isMovable } of placement.windows) {
        const device = this.devices[index]!;
        const window = { device, base, sizeBytes, deviceOffset, readSlot: slot, writeSlot: slot + 1 };
        if (isMovable) windows.movable.push(new MovableWindow(window, () => (device.state as MovableState).windowBase));
        else windows[bus].push(window);
        slot += 2;
      }
    });
    return windows;
  }

  #connect(): void {
    const wiring = this.#wiring;
    const ioapic = this.devices.find(({ definition }) => definition.name === "ioapic");
    const driveGsi =
      ioapic === undefined
        ? (gsi: number, level: 0 | 1) => wiring.irqLine(gsi, level)
        : (gsi: number, level: 0 | 1) => {
            ioapic.lock();
            try {
              setPin(ioapic.state as IoapicState, gsi, level, ioapic.port);
            } finally {
              ioapic.unlock();
            }
          };
    const bus = new PciBus(this.placements, this.devices, wiring.pci, () => route());
    // KVM takes the whole table at once; whoever is last has seen what all others have written.
    const route = (): void => {
      this.routesLock.acquire();
      try {
        if (ioapic === undefined) wiring.pci?.routeVectors(bus.messages());
        else wiring.routeMsis([...routedPins(ioapic.state as IoapicState), ...bus.messages()]);
      } finally {
        this.routesLock.release();
      }
    };
    this.placements.forEach((placement, index) => {
      const device = this.devices[index]!;
      const pci = bus.portOf(device);
      const port = devicePort(placement, device, this.outputs, driveGsi, wiring);
      device.port = { ...port, routeMsi: route, ...(pci && { pci }) };
    });
  }
}

/** Of devices that are seen where the guest has put them. */
type MovableState = Pick<PciState, "windowBase">;
type IoapicState = Parameters<typeof setPin>[0];

function devicePort(
  { definition, irq, output }: Placement,
  device: Device,
  outputs: ReadonlyMap<OutputName, OutputRing>,
  driveGsi: (gsi: number, level: 0 | 1) => void,
  wiring: Wiring,
): Omit<DevicePort, "routeMsi"> {
  const ring = output === undefined ? undefined : outputs.get(output);
  return {
    setIrq(level) {
      if (irq !== undefined && device.driveIrq(level)) driveGsi(irq, level);
    },
    setGsi: driveGsi,
    sendMsi: (address, data) => wiring.sendMsi(address, data),
    emit(byte) {
      if (ring === undefined) return true;
      if (!ring.push(byte)) return false;
      if (ring.mustWake()) wiring.wakeReader(output!);
      return true;
    },
    outputReady: () => ring === undefined || ring.ready(),
    request: (kind, status = 0) => wiring.request({ kind, status, device: definition.name }),
    memory: (gpa, maxBytes) => wiring.memory(gpa, maxBytes),
    fwCfgItem: (key) => wiring.fwCfgItem(key),
    flash: () => wiring.flash(),
    nowNs: () => wiring.nowNs(),
    wallClockMs: () => wiring.wallClockMs(),
  };
}
