/** Whether a description can be that of a machine: what cannot be said in a table is found here, by its name. */
import {
  AcpiError,
  type AcpiMachine,
  ecamWindow,
  PCI_INTERRUPT_PINS,
  type PciHost,
  PM_BLOCK_BYTES,
  type Window,
} from "./machine.js";

/** The names in the DSDT of what comes in numbers have three hexadecimal digits. */
const MAX_CPUS = 4096;
const MAX_VIRTIO_MMIO = 4096;
const MAX_SERIAL_PORTS = 4;
/** So that a guest's search for room among a bridge's windows stays short. */
const MAX_PCI_WINDOWS = 16;
const ISA_IRQS = 16;
const APIC_BYTES = 0x1000;

const U8 = 0xff;
const U16 = 0xffff;
const U32 = 0xffff_ffff;
const PORTS = 0x1_0000;
const GIB4 = 2 ** 32;
/** The widest physical address of an x86 CPU (Intel SDM volume 3, 4.1.4). */
const PHYSICAL_ADDRESSES = 2 ** 52;

/** Throws an AcpiError that names the first value no machine can have, or two things at one address. */
export function checkMachine(machine: AcpiMachine): void {
  checkApics(machine);
  checkPorts(machine);
  atMost("virtioMmio", machine.virtioMmio, MAX_VIRTIO_MMIO).forEach((window, index) => {
    checkWindow(`virtioMmio[${index}]`, window, GIB4);
    check(`virtioMmio[${index}].irq`, window.irq, U32);
  });
  if (machine.pci !== undefined) checkPci(machine.pci);
  checkOverlaps(machine);
}

function checkApics({ apicIds, localApicAddress, ioapic, timerGsi }: AcpiMachine): void {
  check("the number of apicIds", apicIds.length, MAX_CPUS, 1);
  // All ones is every CPU in x2APIC mode.
  for (const apicId of apicIds) check("an APIC id", apicId, U32 - 1);
  if (new Set(apicIds).size !== apicIds.length) throw new AcpiError("two CPUs have the same APIC id");
  check("localApicAddress", localApicAddress, GIB4 - APIC_BYTES);
  check("ioapic.id", ioapic.id, U8);
  check("ioapic.address", ioapic.address, GIB4 - APIC_BYTES);
  check("ioapic.gsiBase", ioapic.gsiBase, U32);
  check("timerGsi", timerGsi, U32);
}

function checkPorts({ pm, reset, rtc, keyboard, panic, serialPorts }: AcpiMachine): void {
  // In the FADT, a register at port 0 is one that is not there.
  check("pm.port", pm.port, PORTS - PM_BLOCK_BYTES, 1);
  check("pm.sciIrq", pm.sciIrq, ISA_IRQS - 1);
  check("pm.s5SleepType", pm.s5SleepType, 7);
  check("reset.port", reset.port, U16, 1);
  check("reset.value", reset.value, U8);
  if (rtc !== undefined) {
    checkWindow("rtc.port", { base: rtc.port, sizeBytes: 2 }, PORTS);
    check("rtc.irq", rtc.irq, ISA_IRQS - 1);
  }
  if (panic !== undefined) check("panic.port", panic.port, U16);
  if (keyboard !== undefined) {
    check("keyboard.dataPort", keyboard.dataPort, U16);
    check("keyboard.commandPort", keyboard.commandPort, U16);
    check("keyboard.irq", keyboard.irq, ISA_IRQS - 1);
  }
  atMost("serialPorts", serialPorts, MAX_SERIAL_PORTS).forEach(({ port, irq }, index) => {
    checkWindow(`serialPorts[${index}].port`, { base: port, sizeBytes: 8 }, PORTS);
    check(`serialPorts[${index}].irq`, irq, ISA_IRQS - 1);
  });
}

function checkPci(pci: PciHost): void {
  const { buses, intxGsis } = pci;
  check("pci.buses.last", buses.last, U8);
  check("pci.buses.first", buses.first, buses.last);
  const ecam = ecamWindow(pci);
  if (ecam !== undefined) {
    check("pci.ecamBase", pci.ecamBase!, PHYSICAL_ADDRESSES);
    checkWindow("pci.ecamBase", ecam, PHYSICAL_ADDRESSES);
  }
  // One of all 65536 ports could not say its length.
  checkWindows("pci.io", pci.io, PORTS, U16);
  checkWindows("pci.memory32", pci.memory32, GIB4, U32);
  checkWindows("pci.memory64", pci.memory64, PHYSICAL_ADDRESSES);
  if (intxGsis.length !== PCI_INTERRUPT_PINS) throw new AcpiError("pci.intxGsis has one GSI for each of INTA to INTD");
  for (const gsi of intxGsis) check("pci.intxGsis", gsi, U32);
}

interface NamedWindow extends Window {
  readonly what: string;
}

/** A guest would give a PCI device an address that is another's already, and neither would say why it does not work. */
function checkOverlaps({ localApicAddress, ioapic, virtioMmio, pci }: AcpiMachine): void {
  const named = (what: string, windows: readonly Window[]): NamedWindow[] =>
    windows.map(({ base, sizeBytes }, index) => ({ what: `${what}[${index}]`, base, sizeBytes }));
  const ecam = pci && ecamWindow(pci);
  const windows: NamedWindow[] = [
    { what: "the local APIC", base: localApicAddress, sizeBytes: APIC_BYTES },
    { what: "the IOAPIC", base: ioapic.address, sizeBytes: APIC_BYTES },
    ...named("virtioMmio", virtioMmio),
    ...named("pci.memory32", pci?.memory32 ?? []),
    ...named("pci.memory64", pci?.memory64 ?? []),
    ...(ecam === undefined ? [] : [{ what: "pci.ecamBase", ...ecam }]),
  ];
  windows.sort((a, b) => a.base - b.base);
  windows.forEach((window, index) => {
    const before = windows[index - 1];
    if (before === undefined || before.base + before.sizeBytes <= window.base) return;
    throw new AcpiError(`${before.what} and ${window.what} overlap at 0x${window.base.toString(16)}`);
  });
}

function atMost<T>(what: string, list: readonly T[], maximum: number): readonly T[] {
  check(`the number of ${what}`, list.length, maximum);
  return list;
}

function checkWindows(what: string, windows: readonly Window[], end: number, largest = end): void {
  atMost(what, windows, MAX_PCI_WINDOWS).forEach((window, index) => {
    checkWindow(`${what}[${index}]`, window, end);
    check(`the size of ${what}[${index}]`, window.sizeBytes, largest);
  });
}

function checkWindow(what: string, { base, sizeBytes }: Window, end: number): void {
  check(`the size of ${what}`, sizeBytes, end, 1);
  check(what, base, end - sizeBytes);
}

function check(what: string, value: number, maximum: number, minimum = 0): void {
  if (Number.isSafeInteger(value) && value >= minimum && value <= maximum) return;
  throw new AcpiError(`${what} is ${value}, and has to be an integer from ${minimum} to ${maximum}`);
}
