/** What the tests of ACPI and of the MP table share: PCs made to measure, and memory to look for tables in. */
import fc from "fast-check";
import type { Segment } from "../bios-area.js";
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
  memory32: [{ base: 0xc000_0000, sizeBytes: 0x3ea0_0000 }],
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
    panic: { port: 0x505 },
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

const isaIrq = fc.nat({ max: 15 });
const gsi = fc.nat({ max: 239 });

/** Machines whose tables fit, of every shape. */
export const anyMachine: fc.Arbitrary<AcpiMachine> = fc
  .record({
    apicIds: fc.uniqueArray(fc.oneof(fc.nat({ max: 300 }), fc.nat({ max: 0xffff_fffe })), {
      minLength: 1,
      maxLength: 300,
    }),
    ioapic: fc.record({ id: fc.nat({ max: 0xff }), address: fc.constant(0xfec0_0000), gsiBase: fc.constant(0) }),
    pic8259: fc.boolean(),
    timerGsi: fc.constantFrom(0, 2),
    pm: fc.record({ port: fc.integer({ min: 1, max: 0xfff4 }), sciIrq: isaIrq, s5SleepType: fc.nat({ max: 7 }) }),
    reset: fc.record({ port: fc.integer({ min: 1, max: 0xffff }), value: fc.nat({ max: 0xff }) }),
    rtc: fc.option(fc.record({ port: fc.nat({ max: 0xfffe }), irq: isaIrq }), { nil: undefined }),
    serialPorts: fc.array(fc.record({ port: fc.nat({ max: 0xfff8 }), irq: isaIrq }), { maxLength: 4 }),
    windows: fc.array(fc.record({ irq: gsi, trigger: fc.constantFrom("edge", "level", undefined) }), {
      maxLength: 100,
    }),
    intxGsis: fc.option(fc.tuple(gsi, gsi, gsi, gsi)),
    hasEcam: fc.boolean(),
    firstBus: fc.nat({ max: 255 }),
  })
  .map(({ windows, intxGsis, hasEcam, firstBus, rtc, ...rest }) => ({
    ...testPc(),
    ...rest,
    ...(rtc === undefined ? {} : { rtc }),
    virtioMmio: windows.map(({ irq, trigger = "level" }, index) => ({
      base: 0xfea0_0000 + 0x200 * index,
      sizeBytes: 0x200,
      irq,
      trigger: trigger as "edge" | "level",
    })),
    ...(intxGsis === null ? {} : { pci: anyPci(intxGsis, hasEcam, firstBus) }),
  }));

function anyPci(intxGsis: PciHost["intxGsis"], hasEcam: boolean, first: number): PciHost {
  const { ecamBase, ...bare } = TEST_PCI;
  return { ...bare, buses: { first, last: 255 }, intxGsis, ...(hasEcam ? { ecamBase: ecamBase! } : {}) };
}

/** The first megabyte, with `segments` in it, as a guest would read it. Throws when two are at one place or one is outside. */
export class LowMemory {
  readonly bytes = new Uint8Array(0x10_0000);
  readonly #view = new DataView(this.bytes.buffer);

  constructor(segments: readonly Segment[]) {
    const taken = new Uint8Array(this.bytes.length);
    for (const { signature, gpa, bytes } of segments) {
      if (taken.subarray(gpa, gpa + bytes.length).some((byte) => byte !== 0)) throw new Error(`${signature} overlaps`);
      taken.fill(1, gpa, gpa + bytes.length);
      this.bytes.set(bytes, gpa);
    }
  }

  /** Where `text` stands on a boundary of 16 bytes from `start` on, as guests look for it. */
  find(text: string, start: number): number | undefined {
    for (let gpa = start; gpa < this.bytes.length; gpa += 16) {
      if (this.text(gpa, text.length) === text) return gpa;
    }
    return undefined;
  }

  text(gpa: number, length: number): string {
    return String.fromCharCode(...this.bytes.subarray(gpa, gpa + length));
  }

  u8 = (gpa: number): number => this.#view.getUint8(gpa);
  u16 = (gpa: number): number => this.#view.getUint16(gpa, true);
  u32 = (gpa: number): number => this.#view.getUint32(gpa, true);
  u64 = (gpa: number): number => Number(this.#view.getBigUint64(gpa, true));

  /** All bytes of a range added up, modulo 256: zero where a checksum is right. */
  sum(gpa: number, length: number): number {
    return this.bytes.subarray(gpa, gpa + length).reduce((sum, byte) => (sum + byte) & 0xff, 0);
  }
}
