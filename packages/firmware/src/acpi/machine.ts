/** What a machine tells its guest by ACPI or by an MP table, as a plain description. */

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
  /** Where a kernel says that it has panicked (QEMU, docs/specs/pvpanic.rst). */
  readonly panic?: { readonly port: number };
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

/** Local APIC ids below this are an xAPIC's, too: 255 is its broadcast. */
export const X2APIC_IDS_START = 255;
export const PM_BLOCK_BYTES = 12;
export const PCI_CONFIG_PORTS = { base: 0xcf8, sizeBytes: 8 } as const;
export const ECAM_BYTES_PER_BUS = 2 ** 20;
export const PCI_DEVICES_PER_BUS = 32;
export const PCI_INTERRUPT_PINS = 4;

/** The part of PCI's configuration space in memory that belongs to the host's buses, or undefined without any. */
export function ecamWindow({ ecamBase, buses }: PciHost): Window | undefined {
  if (ecamBase === undefined) return undefined;
  return {
    base: ecamBase + buses.first * ECAM_BYTES_PER_BUS,
    sizeBytes: (buses.last - buses.first + 1) * ECAM_BYTES_PER_BUS,
  };
}
