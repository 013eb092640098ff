/** What the tests of ACPI and of the MP table share: a PC made to measure. */
import type { AcpiMachine, PciHost } from "./machine.js";

export interface TestPc {
  readonly cpus?: number;
  readonly virtioMmio?: number;
  readonly pci?: boolean;
}

const GIB = 2 ** 30;

export const TEST_PCI: PciHost = {
  buses: { first: 0, last: 255 },
  ecamBase: 0xb000_0000,
  io: [
    { base: 0, sizeBytes: 0xcf8 },
    { base: 0xd00, sizeBytes: 0xf300 },
  ],
  memory32: [{ base: 0xc000_0000, sizeBytes: 0x3eb0_0000 }],
  memory64: [{ base: 512 * GIB, sizeBytes: 512 * GIB }],
  intxGsis: [16, 17, 18, 19],
};

/** A PC with so many CPUs (their APIC ids count up from 0), so many virtio devices and perhaps PCI. */
export function testPc({ cpus = 1, virtioMmio = 0, pci = false }: TestPc = {}): AcpiMachine {
  return {
    apicIds: Array.from({ length: cpus }, (_, id) => id),
    localApicAddress: 0xfee0_0000,
    ioapic: { id: 0, address: 0xfec0_0000, gsiBase: 0 },
    pic8259: true,
    timerGsi: 2,
    pm: { port: 0x600, sciIrq: 9, s5SleepType: 0 },
    reset: { port: 0xcf9, value: 6 },
    rtc: { port: 0x70, irq: 8 },
    keyboard: { dataPort: 0x60, commandPort: 0x64, irq: 1 },
    serialPorts: [{ port: 0x3f8, irq: 4 }],
    virtioMmio: Array.from({ length: virtioMmio }, (_, index) => ({
      base: 0xfea0_0000 + 0x1000 * index,
      sizeBytes: 0x1000,
      irq: 5 + (index % 19),
    })),
    ...(pci ? { pci: TEST_PCI } : {}),
  };
}
