/** The MP table, for kernels without ACPI (MultiProcessor Specification 1.4, chapter 4). */

import { checkMachine } from "./acpi/check-machine.js";
import {
  AcpiError,
  type AcpiMachine,
  PCI_DEVICES_PER_BUS,
  PCI_INTERRUPT_PINS,
  X2APIC_IDS_START,
} from "./acpi/machine.js";
import { OEM } from "./acpi/tables/header.js";
import { type Area, AreaLayout, MP_TABLE_AREA, type Segment } from "./bios-area.js";
import { concat, StructBytes } from "./bytes.js";

export interface MpTable {
  /** Guest-physical address of the floating pointer. */
  readonly pointer: number;
  readonly segments: readonly Segment[];
}

const FLOATING_POINTER_BYTES = 16;
const HEADER_BYTES = 44;
/** Version 1.4, of the pointer and of the table. */
const SPEC_REVISION = 4;
const PRODUCT_ID = "PC";

/** Entry types of the base table (section 4.3). */
const ENTRY = { PROCESSOR: 0, BUS: 1, IO_APIC: 2, IO_INTERRUPT: 3, LOCAL_INTERRUPT: 4 } as const;
const INTERRUPT_TYPE = { INT: 0, NMI: 1, EXT_INT: 3 } as const;

/** Polarity and trigger of an interrupt (section 4.3.4). */
const AS_THE_BUS = 0;
const ACTIVE_HIGH_LEVEL = 0b1101;

/** A local APIC that is part of the CPU, and the 82093AA. Kernels read the versions from the registers. */
const LOCAL_APIC_VERSION = 0x14;
const IO_APIC_VERSION = 0x11;
const CPU = { ENABLED: 1 << 0, BOOTSTRAP: 1 << 1 } as const;
/** CPUID's features: that there are an FPU and an APIC. Kernels ask CPUID itself for more. */
const CPU_FEATURES = (1 << 0) | (1 << 9);
const IO_APIC_ENABLED = 1 << 0;
const ALL_LOCAL_APICS = 0xff;

const ISA_IRQS = 16;
const ISA_TIMER_IRQ = 0;
/** Wired to the second 8259. */
const ISA_CASCADE_IRQ = 2;

/**
 * The MP table of `machine` in `area`: the floating pointer and behind it the configuration table. It knows no x2APIC: a
 * CPU whose id is 255 or more is left out. The machine starts in virtual wire mode, as section 3.6.2.2 has it.
 *
 * Throws an AcpiError when there can be no such machine, or when its table does not fit.
 */
export function buildMpTable(machine: AcpiMachine, area: Area = MP_TABLE_AREA): MpTable {
  checkMachine(machine);
  if (machine.ioapic.gsiBase !== 0) throw new AcpiError("an MP table has no GSIs: its IOAPIC's begin at 0");
  const layout = new AreaLayout(area);
  const pointer = layout.reserve(FLOATING_POINTER_BYTES);
  const table = layout.place("PCMP", configurationTable(machine));
  layout.put("_MP_", pointer, floatingPointer(table));
  if (layout.overflow !== undefined) throw new AcpiError(`the MP table needs ${layout.overflow}`);
  return { pointer, segments: layout.segments };
}

/** Section 4.1. Feature bytes of zero: there is a table, and no IMCR. */
function floatingPointer(tableGpa: number): Uint8Array {
  return new StructBytes(FLOATING_POINTER_BYTES)
    .text(0, 4, "_MP_")
    .u32(4, tableGpa)
    .u8(8, FLOATING_POINTER_BYTES / 16)
    .u8(9, SPEC_REVISION)
    .checksum(10).bytes;
}

/** Section 4.2, and the entries in the order of their types. */
function configurationTable(machine: AcpiMachine): Uint8Array {
  const entries = [
    ...processors(machine.apicIds),
    ...buses(machine),
    ioApic(machine.ioapic),
    ...isaInterrupts(machine),
    ...pciInterrupts(machine),
    ...localInterrupts(machine),
  ];
  const base = concat(entries);
  return new StructBytes(HEADER_BYTES + base.length)
    .text(0, 4, "PCMP")
    .u16(4, HEADER_BYTES + base.length)
    .u8(6, SPEC_REVISION)
    .text(8, 8, OEM.TABLE_ID)
    .text(16, 12, PRODUCT_ID)
    .u16(34, entries.length)
    .u32(36, machine.localApicAddress)
    .set(HEADER_BYTES, base)
    .checksum(7).bytes;
}

function processors(apicIds: readonly number[]): Uint8Array[] {
  const bootstrap = apicIds[0];
  return apicIds
    .filter((id) => id < X2APIC_IDS_START)
    .map(
      (id) =>
        new StructBytes(20)
          .u8(0, ENTRY.PROCESSOR)
          .u8(1, id)
          .u8(2, LOCAL_APIC_VERSION)
          .u8(3, CPU.ENABLED | (id === bootstrap ? CPU.BOOTSTRAP : 0))
          .u32(8, CPU_FEATURES).bytes,
    );
}

/** A PCI bus goes by its number, which is what kernels look for; ISA takes the next that is free. */
function busIds({ pci }: AcpiMachine): { isa: number; pci: number | undefined } {
  const pciId = pci?.buses.first;
  return { isa: pciId === 0 ? 1 : 0, pci: pciId };
}

function buses(machine: AcpiMachine): Uint8Array[] {
  const bus = (id: number, type: string) => new StructBytes(8).u8(0, ENTRY.BUS).u8(1, id).text(2, 6, type).bytes;
  const { isa, pci } = busIds(machine);
  const all = [bus(isa, "ISA"), ...(pci === undefined ? [] : [bus(pci, "PCI")])];
  return isa === 0 ? all : all.reverse();
}

function ioApic({ id, address }: AcpiMachine["ioapic"]): Uint8Array {
  return new StructBytes(8).u8(0, ENTRY.IO_APIC).u8(1, id).u8(2, IO_APIC_VERSION).u8(3, IO_APIC_ENABLED).u32(4, address)
    .bytes;
}

interface InterruptEntry {
  readonly entry: number;
  readonly type: number;
  readonly flags: number;
  readonly bus: number;
  readonly busIrq: number;
  /** An APIC's id and its input. */
  readonly apic: number;
  readonly input: number;
}

/** Interrupt assignments of both kinds have one form (sections 4.3.4 and 4.3.5). */
function interrupt({ entry, type, flags, bus, busIrq, apic, input }: InterruptEntry): Uint8Array {
  return new StructBytes(8).u8(0, entry).u8(1, type).u16(2, flags).u8(4, bus).u8(5, busIrq).u8(6, apic).u8(7, input)
    .bytes;
}

/** Each ISA interrupt at the input of its number, except for the timer, and where PCI has that input. */
function isaInterrupts(machine: AcpiMachine): Uint8Array[] {
  const { pci, timerGsi, ioapic } = machine;
  const bus = busIds(machine).isa;
  const entries: Uint8Array[] = [];
  for (let busIrq = 0; busIrq < ISA_IRQS; busIrq++) {
    const input = busIrq === ISA_TIMER_IRQ ? ioApicInput(timerGsi) : busIrq;
    if (busIrq === ISA_CASCADE_IRQ || pci?.intxGsis.includes(input)) continue;
    const flags = isLevel(machine, busIrq) ? ACTIVE_HIGH_LEVEL : AS_THE_BUS;
    const type = INTERRUPT_TYPE.INT;
    entries.push(interrupt({ entry: ENTRY.IO_INTERRUPT, type, flags, bus, busIrq, apic: ioapic.id, input }));
  }
  return entries;
}

/** Unlike what ISA does. There is no other way to say how the interrupts of virtio devices are. */
function isLevel({ pm, virtioMmio }: AcpiMachine, irq: number): boolean {
  return irq === pm.sciIrq || virtioMmio.some((window) => window.irq === irq && window.trigger !== "edge");
}

/** INTA to INTD of every device on the first bus. The source is the device's number, and the pin in the low two bits. */
function pciInterrupts(machine: AcpiMachine): Uint8Array[] {
  const { pci, ioapic } = machine;
  if (pci === undefined) return [];
  const { INT: type } = INTERRUPT_TYPE;
  const bus = pci.buses.first;
  return Array.from({ length: PCI_DEVICES_PER_BUS * PCI_INTERRUPT_PINS }, (_, busIrq) => {
    const [slot, pin] = [Math.floor(busIrq / PCI_INTERRUPT_PINS), busIrq % PCI_INTERRUPT_PINS];
    const input = ioApicInput(pci.intxGsis[(slot + pin) % PCI_INTERRUPT_PINS]!);
    return interrupt({ entry: ENTRY.IO_INTERRUPT, type, flags: AS_THE_BUS, bus, busIrq, apic: ioapic.id, input });
  });
}

/** LINT0 is the 8259s' line to the CPU that boots, LINT1 everyone's NMI. */
function localInterrupts(machine: AcpiMachine): Uint8Array[] {
  const local = { entry: ENTRY.LOCAL_INTERRUPT, flags: AS_THE_BUS, bus: busIds(machine).isa, busIrq: 0 };
  const { EXT_INT, NMI } = INTERRUPT_TYPE;
  const bootstrap = machine.apicIds[0]!;
  return [
    ...(machine.pic8259 && bootstrap < X2APIC_IDS_START
      ? [interrupt({ ...local, type: EXT_INT, apic: bootstrap, input: 0 })]
      : []),
    interrupt({ ...local, type: NMI, apic: ALL_LOCAL_APICS, input: 1 }),
  ];
}

function ioApicInput(gsi: number): number {
  if (gsi > 0xff) throw new AcpiError(`GSI ${gsi} is no input of an MP table's IOAPIC`);
  return gsi;
}
