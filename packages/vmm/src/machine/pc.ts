/**
 * The PC: which devices stand where, and on which interrupt line. This is the only file that knows an address.
 */
import { type AcpiMachine, EXERCISER_BASE, EXERCISER_REGISTER } from "@tools-kvm/firmware";
import { acpiPm, SLP_TYP_S5 } from "../devices/acpi-pm/acpi-pm.js";
import { debugConsole } from "../devices/debug-console/debug-console.js";
import { debugExit } from "../devices/debug-exit/debug-exit.js";
import type { DeviceDefinition } from "../devices/device.js";
import { EXERCISER_SIZE_BYTES, exerciser } from "../devices/exerciser/exerciser.js";
import { flash } from "../devices/flash/flash.js";
import { fwCfg } from "../devices/fw-cfg/fw-cfg.js";
import { i8042 } from "../devices/i8042/i8042.js";
import { ioapic } from "../devices/ioapic/ioapic.js";
import { testdevFlush, testdevIrq, testdevLatch, testdevMemory } from "../devices/pc-testdev/pc-testdev.js";
import { ECAM_BUS_BYTES, ECAM_BYTES, ECAM_OFFSET, pciHost, pciHostAt } from "../devices/pci-host/pci-host.js";
import { pit8254 } from "../devices/pit-8254/pit-8254.js";
import { pvpanic } from "../devices/pvpanic/pvpanic.js";
import { RST_CNT, resetControl } from "../devices/reset-control/reset-control.js";
import { rtcCmos } from "../devices/rtc-cmos/rtc-cmos.js";
import { serial16550 } from "../devices/serial-16550/serial-16550.js";
import { BAR_BYTES } from "../virtio/pci/layout.js";
import { MMIO_SIZE_BYTES, virtioMmio } from "../virtio/transport-mmio.js";
import { virtioPci } from "../virtio/transport-pci.js";
import { ECAM_BASE, IOAPIC_BASE, LAPIC_BASE, PCI_ECAM_BASE, pciWindows } from "./memory-map.js";
import type { FlashSpec, MachineSpec } from "./spec.js";
import { INTX_GSIS, placeVirtio, type VirtioPlacement } from "./virtio.js";

/** Ports that the guest is also told by ACPI. */
export const PORT = {
  PVPANIC: 0x505,
  KEYBOARD: 0x60,
  KEYBOARD_COMMAND: 0x64,
  RTC: 0x70,
  COM1: 0x3f8,
  PM: 0x600,
  RESET: 0xcf9,
} as const;

/** Legacy interrupt lines; with the default routing a GSI below 16 is the ISA IRQ of the same number. */
export const IRQ = { KEYBOARD: 1, COM1: 4, RTC: 8, SCI: 9 } as const;

export interface PlacedWindow {
  readonly bus: "pio" | "mmio";
  readonly base: number;
  readonly sizeBytes: number;
  /** Where in the device's register file the window begins; 0 when left out. */
  readonly deviceOffset?: number;
  /** Its base is where it may be at first; where it is, is in `windowBase` of the device's state. */
  readonly isMovable?: true;
}

/** A device, where the guest sees it, and what it is connected to. */
export interface Placement {
  // biome-ignore lint/suspicious/noExplicitAny: placements hold devices of every state
  readonly definition: DeviceDefinition<any>;
  readonly windows: readonly PlacedWindow[];
  readonly irq?: number;
  /** The output that `port.emit` goes to. */
  readonly output?: OutputName;
  readonly pci?: PciPlace;
}

/** A device's place on bus 0, and the GSI of its first vector. */
export interface PciPlace {
  readonly slot: number;
  readonly firstGsi: number;
}

/** `console`: characters of an emergency; the rest of a console goes another way (guest-stream.ts). */
export type OutputName = "serial" | "debug" | "console";

/** Bytes of each output's ring, a power of two. */
export const OUTPUT_BYTES: Record<OutputName, number> = { serial: 64 * 1024, debug: 16 * 1024, console: 4 * 1024 };

const pio = (base: number, sizeBytes: number, deviceOffset = 0): PlacedWindow => ({
  bus: "pio",
  base,
  sizeBytes,
  deviceOffset,
});
const mmio = (base: number, sizeBytes: number, deviceOffset = 0): PlacedWindow => ({
  bus: "mmio",
  base,
  sizeBytes,
  deviceOffset,
});

/** Within the exerciser: writes that KVM collects without an exit, and writes that become an eventfd's count. */
export const EXERCISER_COALESCED = EXERCISER_BASE + EXERCISER_REGISTER.COALESCED;
export const EXERCISER_DOORBELL = EXERCISER_BASE + EXERCISER_REGISTER.IOEVENTFD;

/** Every device of a machine, in the order in which their state lies in shared memory. */
export function placeDevices(spec: MachineSpec): Placement[] {
  return [
    { definition: serial16550, windows: [pio(PORT.COM1, 8)], irq: IRQ.COM1, output: "serial" },
    { definition: rtcCmos, windows: [pio(PORT.RTC, 2)], irq: IRQ.RTC },
    { definition: i8042, windows: [pio(PORT.KEYBOARD, 1, 0), pio(PORT.KEYBOARD_COMMAND, 1, 4)], irq: IRQ.KEYBOARD },
    { definition: acpiPm, windows: [pio(PORT.PM, 12)], irq: IRQ.SCI },
    rootPlacement(spec),
    { definition: fwCfg, windows: [pio(0x510, 2), pio(0x514, 8, 4)] },
    { definition: pvpanic, windows: [pio(PORT.PVPANIC, 1)] },
    { definition: debugConsole, windows: [pio(0x402, 1)], output: "debug" },
    ...placeVirtio(spec).map(virtioPlacement),
    ...(spec.flash === undefined ? [] : [flashPlacement(spec.flash)]),
    ...(spec.irqchip === "split" ? splitIrqchipDevices : []),
    ...(spec.testDevices ? testDevices : []),
  ];
}

/** The same machine as firmware describes it to an operating system. */
export function describePc(spec: MachineSpec): AcpiMachine {
  const { cpus, irqchip } = spec;
  return {
    apicIds: Array.from({ length: cpus }, (_, index) => index),
    localApicAddress: LAPIC_BASE,
    // What KVM's IOAPIC and ours answer with after a reset.
    ioapic: { id: 0, address: IOAPIC_BASE, gsiBase: 0 },
    pic8259: irqchip === "kernel",
    // KVM's default routing, and the PIT device of a split irqchip.
    timerGsi: 0,
    pm: { port: PORT.PM, sciIrq: IRQ.SCI, s5SleepType: SLP_TYP_S5 },
    reset: { port: PORT.RESET, value: RST_CNT.SYS_RST | RST_CNT.RST_CPU },
    rtc: { port: PORT.RTC, irq: IRQ.RTC },
    keyboard: { dataPort: PORT.KEYBOARD, commandPort: PORT.KEYBOARD_COMMAND, irq: IRQ.KEYBOARD },
    panic: { port: PORT.PVPANIC },
    serialPorts: [{ port: PORT.COM1, irq: IRQ.COM1 }],
    ...(spec.bus === "pci" ? { pci: describePci(spec) } : {}),
    virtioMmio: (spec.bus === "pci" ? [] : placeVirtio(spec)).map(({ base, gsi }) => ({
      base,
      sizeBytes: MMIO_SIZE_BYTES,
      irq: gsi,
      // By irqfd, which knows no level: an interrupt is an edge.
      trigger: "edge",
    })),
  };
}

function virtioPlacement({ device, base, gsi, slot }: VirtioPlacement): Placement {
  const output = device.emergencyWrite === undefined ? {} : { output: "console" as const };
  if (slot === undefined)
    return { definition: virtioMmio(device), windows: [mmio(base, MMIO_SIZE_BYTES)], irq: gsi, ...output };
  return {
    ...output,
    definition: virtioPci(device, { slot, barBase: base }),
    windows: [{ bus: "mmio", base, sizeBytes: BAR_BYTES, isMovable: true }],
    pci: { slot, firstGsi: gsi },
  };
}

/** One bus, whose devices have no ports. */
function describePci(spec: MachineSpec): NonNullable<AcpiMachine["pci"]> {
  return {
    buses: { first: 0, last: 0 },
    // Firmware chooses where its own is, after the tables were written.
    ...(spec.chipset === undefined ? { ecamBase: PCI_ECAM_BASE } : {}),
    io: [],
    memory32: pciWindows(spec),
    memory64: [],
    intxGsis: INTX_GSIS,
  };
}

/** What is at port 0xcf9, and around it where there is a PCI bus: for firmware as a chipset after a reset. */
function rootPlacement({ bus, chipset }: MachineSpec): Placement {
  if (chipset !== undefined) return pciHostPlacement;
  return bus === "pci" ? pciBusPlacement : { definition: resetControl, windows: [pio(PORT.RESET, 1)] };
}

const pciBusPlacement: Placement = {
  definition: pciHostAt(PCI_ECAM_BASE),
  windows: [pio(0xcf8, 8), mmio(PCI_ECAM_BASE, ECAM_BUS_BYTES, ECAM_OFFSET)],
};

const pciHostPlacement: Placement = {
  definition: pciHost,
  windows: [pio(0xcf8, 8), { ...mmio(ECAM_BASE, ECAM_BYTES, ECAM_OFFSET), isMovable: true }],
};

const flashPlacement = ({ base, sizeBytes }: FlashSpec): Placement => ({
  definition: flash(sizeBytes),
  windows: [mmio(base, sizeBytes)],
});

/** What the kernel leaves to us when it keeps only the local APICs. */
const splitIrqchipDevices: Placement[] = [
  { definition: ioapic, windows: [mmio(IOAPIC_BASE, 0x1000)] },
  { definition: pit8254, windows: [pio(0x40, 4, 0), pio(0x61, 1, 4)] },
];

const testDevices: Placement[] = [
  { definition: debugExit, windows: [pio(0xf4, 4)] },
  { definition: testdevLatch, windows: [pio(0xe0, 4), pio(0xe8, 4)] },
  { definition: testdevFlush, windows: [pio(0xe4, 4)] },
  { definition: testdevIrq, windows: [pio(0x2000, 24)] },
  { definition: testdevMemory, windows: [mmio(0xff00_0000, 0x1_0000)] },
  { definition: exerciser, windows: [mmio(EXERCISER_BASE, EXERCISER_SIZE_BYTES)] },
];
