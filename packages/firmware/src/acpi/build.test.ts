import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ACPI_AREA } from "../bios-area.js";
import { buildAcpiTables } from "./build.js";
import { AcpiError, type AcpiMachine } from "./machine.js";
import { anyMachine, LowMemory, TEST_PCI, testPc } from "./testing.js";

const HEADER_BYTES = 36;

/** A guest's way from the first megabyte to every table: found by scanning, followed by address, checked by sum. */
function readTables(machine: AcpiMachine) {
  const { rsdp, segments } = buildAcpiTables(machine);
  const memory = new LowMemory(segments);
  expect(memory.find("RSD PTR ", 0xe_0000)).toBe(rsdp);
  expect(memory.u8(rsdp + 15)).toBe(2);
  expect(memory.sum(rsdp, 20)).toBe(0);
  expect(memory.sum(rsdp, memory.u32(rsdp + 20))).toBe(0);
  const [rsdt, xsdt] = [memory.u32(rsdp + 16), memory.u64(rsdp + 24)];
  const pointers = entries(memory, xsdt, "XSDT", 8).map((gpa) => memory.u64(gpa));
  expect(entries(memory, rsdt, "RSDT", 4).map((gpa) => memory.u32(gpa))).toEqual(pointers);
  const tables = new Map(pointers.map((gpa) => [memory.text(gpa, 4), gpa]));
  for (const [signature, gpa] of tables) checkTable(memory, gpa, signature);
  const fadt = tables.get("FACP")!;
  const [facs, dsdt] = [memory.u32(fadt + 36), memory.u32(fadt + 40)];
  expect(memory.u64(fadt + 140)).toBe(dsdt);
  checkTable(memory, dsdt, "DSDT");
  expect([memory.text(facs, 4), memory.u32(facs + 4), facs % 64]).toEqual(["FACS", 64, 0]);
  return { memory, tables, segments, fadt, madt: tables.get("APIC")!, mcfg: tables.get("MCFG") };
}

function checkTable(memory: LowMemory, gpa: number, signature: string): void {
  expect(memory.text(gpa, 4)).toBe(signature);
  expect(memory.sum(gpa, memory.u32(gpa + 4))).toBe(0);
}

/** Addresses of the pointers in a table of tables. */
function entries(memory: LowMemory, gpa: number, signature: string, sizeBytes: number): number[] {
  checkTable(memory, gpa, signature);
  const count = (memory.u32(gpa + 4) - HEADER_BYTES) / sizeBytes;
  return Array.from({ length: count }, (_, index) => gpa + HEADER_BYTES + sizeBytes * index);
}

/** The structures in a MADT: type and where they begin. */
function madtStructures({ memory, madt }: ReturnType<typeof readTables>): { type: number; gpa: number }[] {
  const structures: { type: number; gpa: number }[] = [];
  const end = madt + memory.u32(madt + 4);
  let gpa = madt + HEADER_BYTES + 8;
  for (; gpa < end; gpa += memory.u8(gpa + 1)) {
    structures.push({ type: memory.u8(gpa), gpa });
    expect(memory.u8(gpa + 1)).toBeGreaterThan(2);
  }
  expect(gpa).toBe(end);
  return structures;
}

describe("a machine's tables", () => {
  it("are all found, whole and apart from each other, for any machine", () => {
    fc.assert(
      fc.property(anyMachine, (machine) => {
        const { segments, tables } = readTables(machine);
        expect([...tables.keys()]).toEqual(
          machine.pci?.ecamBase === undefined ? ["FACP", "APIC"] : ["FACP", "APIC", "MCFG"],
        );
        for (const { gpa, bytes } of segments) {
          expect(gpa).toBeGreaterThanOrEqual(ACPI_AREA.start);
          expect(gpa + bytes.length).toBeLessThanOrEqual(ACPI_AREA.end);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("fit into their 64 KiB for 1024 CPUs with 32 virtio devices and PCI", () => {
    expect(() => readTables(testPc({ cpus: 1024, virtioMmio: 32, pci: true }))).not.toThrow();
  });

  it("are refused, in one line, where they do not fit", () => {
    expect(() => buildAcpiTables(testPc({ cpus: 2000 }))).toThrow(AcpiError);
    expect(() => buildAcpiTables(testPc({ cpus: 2000 }))).toThrow(/^the ACPI tables need \d+ bytes, and 0xe0000 to /);
    const tight = { start: 0xe_0000, end: 0xe_0300 };
    expect(() => buildAcpiTables(testPc(), tight)).toThrow(/need \d+ bytes, and 0xe0000 to 0xe0300 has 768/);
  });

  it("go where they are told", () => {
    const area = { start: 0x7ff0_0008, end: 0x8000_0000 };
    const { rsdp, segments } = buildAcpiTables(testPc({ cpus: 4096, pci: true }), area);
    expect(rsdp).toBe(0x7ff0_0010);
    expect(segments.find(({ signature }) => signature === "FACS")!.gpa % 64).toBe(0);
  });
});

describe("the FADT", () => {
  it("names the PM registers, the SCI and the reset register", () => {
    const { memory, fadt } = readTables(testPc());
    expect(memory.u32(fadt + 4)).toBe(276);
    expect([memory.u8(fadt + 8), memory.u8(fadt + 131)]).toEqual([6, 5]);
    expect(memory.u16(fadt + 46)).toBe(9);
    expect([56, 64, 76].map((at) => memory.u32(fadt + at))).toEqual([0x600, 0x604, 0x608]);
    expect([148, 172, 208].map((at) => memory.u64(fadt + at + 4))).toEqual([0x600, 0x604, 0x608]);
    expect([88, 89, 91].map((at) => memory.u8(fadt + at))).toEqual([4, 2, 4]);
    expect([memory.u64(fadt + 120), memory.u8(fadt + 128)]).toEqual([0xcf9, 6]);
    // No SMI command port: the machine is in ACPI mode and stays there.
    expect(memory.u32(fadt + 48)).toBe(0);
  });

  it.each<[string, AcpiMachine, number, number]>([
    ["all there is on a PC", testPc(), 0b000111, 0x32],
    ["no keyboard controller", { ...testPc(), keyboard: undefined as never }, 0b000101, 0x32],
    ["no clock", { ...testPc(), rtc: undefined as never }, 0b100111, 0],
    ["no serial port", { ...testPc(), serialPorts: [] }, 0b000110, 0x32],
  ])("says in its boot flags that there is %s", (_what, machine, flags, century) => {
    const { memory, fadt } = readTables(machine);
    expect(memory.u16(fadt + 109)).toBe(flags);
    expect(memory.u8(fadt + 108)).toBe(century);
  });
});

describe("the MADT", () => {
  it("has one structure a CPU, an x2APIC's from id 255 on, and the processor UIDs of the DSDT", () => {
    const apicIds = [300, 254, 0, 255, 0xffff_fffe];
    const found = readTables({ ...testPc(), apicIds });
    const { memory } = found;
    const cpus = madtStructures(found).flatMap(({ type, gpa }) => {
      if (type === 0) return [{ type, uid: memory.u8(gpa + 2), id: memory.u8(gpa + 3), flags: memory.u32(gpa + 4) }];
      if (type === 9) return [{ type, uid: memory.u32(gpa + 12), id: memory.u32(gpa + 4), flags: memory.u32(gpa + 8) }];
      return [];
    });
    expect(cpus).toEqual(apicIds.map((id) => ({ type: id < 255 ? 0 : 9, uid: id, id, flags: 1 })));
  });

  it("has the IOAPIC, the overrides of the timer and of the SCI, and NMI on LINT1", () => {
    const found = readTables({ ...testPc(), ioapic: { id: 7, address: 0xfec0_0000, gsiBase: 0 } });
    const { memory, madt } = found;
    expect([memory.u32(madt + 36), memory.u32(madt + 40)]).toEqual([0xfee0_0000, 1]);
    const [, ioapic, timer, sci, nmi, ...more] = madtStructures(found);
    expect(more).toEqual([]);
    expect([ioapic!.type, memory.u8(ioapic!.gpa + 2), memory.u32(ioapic!.gpa + 4)]).toEqual([1, 7, 0xfec0_0000]);
    const override = ({ type, gpa }: { type: number; gpa: number }) => ({
      type,
      irq: memory.u8(gpa + 3),
      gsi: memory.u32(gpa + 4),
      flags: memory.u16(gpa + 8),
    });
    expect(override(timer!)).toEqual({ type: 2, irq: 0, gsi: 2, flags: 0 });
    expect(override(sci!)).toEqual({ type: 2, irq: 9, gsi: 9, flags: 0xd });
    expect([nmi!.type, memory.u8(nmi!.gpa + 2), memory.u8(nmi!.gpa + 5)]).toEqual([4, 0xff, 1]);
  });

  it("says nothing of the timer where that arrives at GSI 0, nor of 8259s where there are none", () => {
    const found = readTables({ ...testPc(), timerGsi: 0, pic8259: false });
    expect(madtStructures(found).map(({ type }) => type)).toEqual([0, 1, 2, 4]);
    expect(found.memory.u32(found.madt + 40)).toBe(0);
  });
});

describe("the MCFG", () => {
  it("names the configuration space of PCI's buses", () => {
    const { memory, mcfg } = readTables({ ...testPc(), pci: { ...TEST_PCI, buses: { first: 2, last: 9 } } });
    expect(memory.u32(mcfg! + 4)).toBe(60);
    expect(memory.u64(mcfg! + 44)).toBe(0xb000_0000);
    expect([memory.u16(mcfg! + 52), memory.u8(mcfg! + 54), memory.u8(mcfg! + 55)]).toEqual([0, 2, 9]);
  });
});

describe("a machine is refused, with the reason,", () => {
  const pc = testPc({ virtioMmio: 1, pci: true });
  const pci = pc.pci!;
  const window = pc.virtioMmio[0]!;
  it.each<[string, Partial<AcpiMachine>, RegExp]>([
    ["without a CPU", { apicIds: [] }, /number of apicIds is 0/],
    ["with two CPUs of one id", { apicIds: [0, 1, 0] }, /same APIC id/],
    ["with a CPU that is all of them", { apicIds: [0xffff_ffff] }, /an APIC id is 4294967295/],
    ["with half a CPU", { apicIds: [0.5] }, /an APIC id is 0.5/],
    ["with too many CPUs", { apicIds: Array.from({ length: 4097 }, (_, id) => id) }, /is 4097/],
    ["with a PM block that ends beyond the ports", { pm: { ...pc.pm, port: 0xfff8 } }, /pm.port/],
    ["with a PM block at port 0", { pm: { ...pc.pm, port: 0 } }, /pm.port is 0/],
    ["with a sleep type of four bits", { pm: { ...pc.pm, s5SleepType: 8 } }, /s5SleepType is 8/],
    ["with an SCI that is no ISA interrupt", { pm: { ...pc.pm, sciIrq: 16 } }, /sciIrq/],
    ["with a reset register that is no port", { reset: { port: 0x1_0000, value: 6 } }, /reset.port/],
    ["with five serial ports", { serialPorts: new Array(5).fill({ port: 0x3f8, irq: 4 }) }, /serialPorts is 5/],
    ["with a clock on no interrupt", { rtc: { port: 0x70, irq: Number.NaN } }, /rtc.irq is NaN/],
    ["with a keyboard at a negative port", { keyboard: { dataPort: -1, commandPort: 0x64, irq: 1 } }, /dataPort is -1/],
    ["with an IOAPIC above 4 GiB", { ioapic: { ...pc.ioapic, address: 2 ** 32 } }, /ioapic.address/],
    ["with a virtio device of no size", { virtioMmio: [{ ...window, sizeBytes: 0 }] }, /size of virtioMmio\[0\] is 0/],
    ["with a virtio device above 4 GiB", { virtioMmio: [{ ...window, base: 2 ** 32 }] }, /virtioMmio\[0\] is/],
    ["with two virtio devices at one address", { virtioMmio: [window, window] }, /\[0\] and virtioMmio\[1\] overlap/],
    [
      "with a virtio device in the IOAPIC",
      { virtioMmio: [{ ...window, base: 0xfec0_0000 }] },
      /IOAPIC and virtioMmio\[0\] overlap at 0xfec00000/,
    ],
    [
      "with a virtio device where PCI places its own",
      { virtioMmio: [{ ...window, base: 0xc000_0000 }] },
      /virtioMmio\[0\] and pci.memory32\[0\] overlap/,
    ],
    ["with PCI's buses in the wrong order", { pci: { ...pci, buses: { first: 2, last: 1 } } }, /buses.first is 2/],
    [
      "with 64-bit PCI memory beyond all addresses",
      { pci: { ...pci, memory64: [{ base: 2 ** 52, sizeBytes: 1 }] } },
      /memory64/,
    ],
    [
      "with one window of all ports",
      { pci: { ...pci, io: [{ base: 0, sizeBytes: 0x1_0000 }] } },
      /size of pci.io\[0\]/,
    ],
    ["with three of PCI's four interrupts", { pci: { ...pci, intxGsis: [16, 17, 18] as never } }, /INTA to INTD/],
  ])("%s", (_what, change, reason) => {
    const build = () => buildAcpiTables({ ...pc, ...change });
    expect(build).toThrow(AcpiError);
    expect(build).toThrow(reason);
  });
});
