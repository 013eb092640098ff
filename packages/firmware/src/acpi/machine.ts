/** What a machine tells its guest by ACPI or by an MP table: a plain description, and whether it can be one. */

/** Guest-physical addresses are numbers; ports, interrupts and ids are integers of the width that hardware gives them. */
export interface AcpiMachine {
  /**
   * Local APIC ids of all CPUs, the one that boots first. An id is also the CPU's `_UID` and its processor UID in the
   * MADT: that has only eight bits for ids below 255, so nothing else would always fit.
   */
  readonly apicIds: readonly number[];
  readonly localApicAddress: number;
  readonly ioapic: { readonly id: number; readonly address: number; readonly gsiBase: number };
  /** There is a pair of 8259 interrupt controllers. */
  readonly pic8259: boolean;
  /**
   * The GSI at which ISA interrupt 0, the PIT's, arrives: 2 on a PC. KVM's own default routing makes it 0; one that does
   * as a PC does has to be set by KVM_SET_GSI_ROUTING.
   */
  readonly timerGsi: number;
  /** The PM block (PM1 event registers, PM1 control at 4, the timer at 8), its interrupt, and what switches off. */
  readonly pm: { readonly port: number; readonly sciIrq: number; readonly s5SleepType: number };
  /** Writing `value` to `port` resets the machine. */
  readonly reset: { readonly port: number; readonly value: number };
  /** An MC146818 with the century at index 0x32. */
  readonly rtc?: { readonly port: number; readonly irq: number };
  readonly keyboard?: { readonly dataPort: number; readonly commandPort: number; readonly irq: number };
  /** 16550s, COM1 first, at most four. */
  readonly serialPorts: readonly { readonly port: number; readonly irq: number }[];
  readonly virtioMmio: readonly VirtioMmioWindow[];
  readonly pci?: PciHost;
}

/** The registers of a virtio device (virtio 1.2, section 4.2.2), below 4 GiB. */
export interface VirtioMmioWindow {
  readonly base: number;
  readonly sizeBytes: number;
  /** Its GSI. */
  readonly irq: number;
  /** `level`, as a PCI function's interrupt, when left out. */
  readonly trigger?: "edge" | "level";
}

/** A range of addresses or ports. */
export interface Window {
  readonly base: number;
  readonly sizeBytes: number;
}

/** A PCI host bridge on segment 0, with configuration ports at 0xcf8 and 0xcfc. */
export interface PciHost {
  /** Bus numbers, both included. The first is 0 where the host bridge is. */
  readonly buses: { readonly first: number; readonly last: number };
  /** Where the configuration space of bus 0 would be: 1 MiB a bus, 4 KiB a function. No MCFG without it. */
  readonly ecamBase?: number;
  /** What devices' base address registers may point at; `memory64` is prefetchable. */
  readonly io: readonly Window[];
  readonly memory32: readonly Window[];
  readonly memory64: readonly Window[];
  /** GSIs of INTA to INTD of device 0; each next device has them turned by one (PCI Local Bus 3.0, section 2.2.6). */
  readonly intxGsis: readonly [number, number, number, number];
}

/** A machine that cannot be described, or a description that does not fit where it has to be. One line. */
export class AcpiError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "AcpiError";
  }
}

/** Local APIC ids below this are xAPIC's; 255 is its broadcast. */
export const X2APIC_IDS_START = 255;
/** The CPUs' names in the DSDT have three hexadecimal digits. */
const MAX_CPUS = 4096;
const MAX_VIRTIO_MMIO = 4096;
const MAX_SERIAL_PORTS = 4;
const ISA_IRQS = 16;
export const PM_BLOCK_BYTES = 12;
export const PCI_CONFIG_PORTS = { base: 0xcf8, sizeBytes: 8 } as const;
export const ECAM_BYTES_PER_BUS = 2 ** 20;
export const PCI_DEVICES_PER_BUS = 32;
export const PCI_INTERRUPT_PINS = 4;

const U8 = 0xff;
const U16 = 0xffff;
const U32 = 0xffff_ffff;
const PORTS = 0x1_0000;
const GIB4 = 2 ** 32;
/** The widest physical address of an x86 CPU (Intel SDM volume 3, 4.1.4). */
const PHYSICAL_ADDRESSES = 2 ** 52;

/** Throws an AcpiError that names the first value no such machine can have. */
export function checkMachine(machine: AcpiMachine): void {
  checkApics(machine);
  const { pm, reset, rtc, keyboard } = machine;
  checkWindow("pm.port", { base: pm.port, sizeBytes: PM_BLOCK_BYTES }, PORTS);
  check("pm.sciIrq", pm.sciIrq, ISA_IRQS - 1);
  check("pm.s5SleepType", pm.s5SleepType, 7);
  check("reset.port", reset.port, U16);
  check("reset.value", reset.value, U8);
  if (rtc !== undefined) {
    checkWindow("rtc.port", { base: rtc.port, sizeBytes: 2 }, PORTS);
    check("rtc.irq", rtc.irq, ISA_IRQS - 1);
  }
  if (keyboard !== undefined) {
    check("keyboard.dataPort", keyboard.dataPort, U16);
    check("keyboard.commandPort", keyboard.commandPort, U16);
    check("keyboard.irq", keyboard.irq, ISA_IRQS - 1);
  }
  check("the number of serialPorts", machine.serialPorts.length, MAX_SERIAL_PORTS);
  machine.serialPorts.forEach(({ port, irq }, index) => {
    checkWindow(`serialPorts[${index}].port`, { base: port, sizeBytes: 8 }, PORTS);
    check(`serialPorts[${index}].irq`, irq, ISA_IRQS - 1);
  });
  check("the number of virtioMmio", machine.virtioMmio.length, MAX_VIRTIO_MMIO);
  machine.virtioMmio.forEach((window, index) => {
    checkWindow(`virtioMmio[${index}]`, window, GIB4);
    check(`virtioMmio[${index}].irq`, window.irq, U32);
  });
  if (machine.pci !== undefined) checkPci(machine.pci);
}

function checkApics({ apicIds, localApicAddress, ioapic, timerGsi }: AcpiMachine): void {
  check("the number of apicIds", apicIds.length, MAX_CPUS, 1);
  // All ones is every CPU in x2APIC mode.
  for (const apicId of apicIds) check("an APIC id", apicId, U32 - 1);
  if (new Set(apicIds).size !== apicIds.length) throw new AcpiError("two CPUs have the same APIC id");
  check("localApicAddress", localApicAddress, U32);
  check("ioapic.id", ioapic.id, U8);
  check("ioapic.address", ioapic.address, U32);
  check("ioapic.gsiBase", ioapic.gsiBase, U32);
  check("timerGsi", timerGsi, U32);
}

function checkPci({ buses, ecamBase, io, memory32, memory64, intxGsis }: PciHost): void {
  check("pci.buses.last", buses.last, U8);
  check("pci.buses.first", buses.first, buses.last);
  if (ecamBase !== undefined) {
    const sizeBytes = (buses.last + 1) * ECAM_BYTES_PER_BUS;
    checkWindow("pci.ecamBase", { base: ecamBase, sizeBytes }, PHYSICAL_ADDRESSES);
  }
  io.forEach((window, index) => {
    checkWindow(`pci.io[${index}]`, window, PORTS);
    check(`pci.io[${index}].sizeBytes`, window.sizeBytes, U16);
  });
  memory32.forEach((window, index) => {
    checkWindow(`pci.memory32[${index}]`, window, GIB4);
  });
  memory64.forEach((window, index) => {
    checkWindow(`pci.memory64[${index}]`, window, PHYSICAL_ADDRESSES);
  });
  if (intxGsis.length !== PCI_INTERRUPT_PINS) throw new AcpiError("pci.intxGsis has one GSI for each of INTA to INTD");
  for (const gsi of intxGsis) check("pci.intxGsis", gsi, U32);
}

function checkWindow(what: string, { base, sizeBytes }: Window, end: number): void {
  check(`${what}: its size`, sizeBytes, end, 1);
  check(`${what}: its base`, base, end - sizeBytes);
}

function check(what: string, value: number, maximum: number, minimum = 0): void {
  if (Number.isSafeInteger(value) && value >= minimum && value <= maximum) return;
  throw new AcpiError(`${what} is ${value}, and has to be an integer from ${minimum} to ${maximum}`);
}
