import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { buildAcpiTables } from "./acpi/build.js";
import { AcpiError, type AcpiMachine } from "./acpi/machine.js";
import { anyMachine, LowMemory, testPc } from "./acpi/testing.js";
import { buildMpTable } from "./mp-table.js";

const HEADER_BYTES = 44;
/** Sizes of the entries by their types (MultiProcessor Specification 1.4, table 4-3). */
const ENTRY_BYTES = [20, 8, 8, 8, 8];

/** The configuration table as a guest finds it: the pointer by its signature, the entries by their sizes. */
function readMpTable(machine: AcpiMachine) {
  const { pointer, segments } = buildMpTable(machine);
  const memory = new LowMemory(segments);
  expect(memory.find("_MP_", 0xf_0000)).toBe(pointer);
  expect(memory.sum(pointer, 16 * memory.u8(pointer + 8))).toBe(0);
  const table = memory.u32(pointer + 4);
  expect(memory.text(table, 4)).toBe("PCMP");
  expect([memory.u8(pointer + 9), memory.u8(table + 6)]).toEqual([4, 4]);
  expect(memory.sum(table, memory.u16(table + 4))).toBe(0);
  const end = table + memory.u16(table + 4);
  const entries: Uint8Array[] = [];
  let gpa = table + HEADER_BYTES;
  for (; gpa < end; gpa += ENTRY_BYTES[memory.u8(gpa)]!) {
    entries.push(memory.bytes.subarray(gpa, gpa + ENTRY_BYTES[memory.u8(gpa)]!));
  }
  expect(gpa).toBe(end);
  expect(memory.u16(table + 34)).toBe(entries.length);
  return {
    memory,
    table,
    ofType: (type: number) => entries.filter(([first]) => first === type).map(([, ...rest]) => rest),
  };
}

const text = (bytes: number[]): string => String.fromCharCode(...bytes);

describe("the MP table", () => {
  it("is found and whole for any machine, and apart from the ACPI tables", () => {
    fc.assert(
      fc.property(anyMachine, (machine) => {
        const { ofType } = readMpTable(machine);
        expect(ofType(0)).toHaveLength(machine.apicIds.filter((id) => id < 255).length);
        const segments = [...buildMpTable(machine).segments, ...buildAcpiTables(machine).segments];
        expect(() => new LowMemory(segments)).not.toThrow();
      }),
      { numRuns: 60 },
    );
  });

  it("has every CPU that an xAPIC can name, the first as the one that boots", () => {
    const { memory, table, ofType } = readMpTable({ ...testPc(), apicIds: [4, 0, 254, 255, 1000] });
    expect(memory.u32(table + 36)).toBe(0xfee0_0000);
    expect(ofType(0).map(([id, version, flags]) => [id, version, flags])).toEqual([
      [4, 0x14, 3],
      [0, 0x14, 1],
      [254, 0x14, 1],
    ]);
    expect(readMpTable(testPc({ cpus: 255 })).ofType(0)).toHaveLength(255);
  });

  it("has the IOAPIC, and ISA's interrupts at their inputs, level-triggered where they are", () => {
    const machine: AcpiMachine = {
      ...testPc(),
      ioapic: { id: 3, address: 0xfec0_0000, gsiBase: 0 },
      virtioMmio: [
        { base: 0xfea0_0000, sizeBytes: 0x200, irq: 5 },
        { base: 0xfea0_0200, sizeBytes: 0x200, irq: 6, trigger: "edge" },
      ],
    };
    const { ofType } = readMpTable(machine);
    expect(ofType(1).map(([id, ...type]) => [id, text(type)])).toEqual([[0, "ISA   "]]);
    expect(ofType(2)).toEqual([[3, 0x11, 1, 0, 0, 0xc0, 0xfe]]);
    const irqs = [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    const level = [5, 9];
    expect(ofType(3)).toEqual(irqs.map((irq) => [0, level.includes(irq) ? 0xd : 0, 0, 0, irq, 3, irq === 0 ? 2 : irq]));
  });

  it("has the PIT at input 0 where it arrives there", () => {
    expect(readMpTable({ ...testPc(), timerGsi: 0 }).ofType(3)[0]).toEqual([0, 0, 0, 0, 0, 0, 0]);
  });

  it("has ExtINT at the first CPU and NMI at all, and no ExtINT without 8259s", () => {
    expect(readMpTable(testPc()).ofType(4)).toEqual([
      [3, 0, 0, 0, 0, 0, 0],
      [1, 0, 0, 0, 0, 0xff, 1],
    ]);
    expect(readMpTable({ ...testPc(), pic8259: false }).ofType(4)).toEqual([[1, 0, 0, 0, 0, 0xff, 1]]);
  });

  it("has PCI's buses and interrupts, turned by one from device to device, and ISA's where PCI has none", () => {
    const pc = testPc({ pci: true });
    const { ofType } = readMpTable({ ...pc, pci: { ...pc.pci!, intxGsis: [10, 11, 18, 19] } });
    expect(ofType(1).map(([id, ...type]) => [id, text(type)])).toEqual([
      [0, "PCI   "],
      [1, "ISA   "],
    ]);
    const interrupts = ofType(3);
    const pci = interrupts.filter(([, , , bus]) => bus === 0);
    expect(pci).toHaveLength(128);
    expect(pci.slice(0, 6).map(([, , , , source, , input]) => [source, input])).toEqual([
      [0, 10],
      [1, 11],
      [2, 18],
      [3, 19],
      [4, 11],
      [5, 18],
    ]);
    const isa = interrupts.filter(([, , , bus]) => bus === 1).map(([, , , , irq]) => irq);
    expect(isa).toEqual([0, 1, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15]);
  });

  it.each<[string, Partial<AcpiMachine>, RegExp]>([
    ["an IOAPIC that does not begin at GSI 0", { ioapic: { id: 0, address: 0, gsiBase: 24 } }, /begin at 0/],
    ["a timer beyond an IOAPIC's inputs", { timerGsi: 256 }, /GSI 256/],
    ["no CPU", { apicIds: [] }, /apicIds is 0/],
  ])("is refused for %s", (_what, change, reason) => {
    const build = () => buildMpTable({ ...testPc(), ...change });
    expect(build).toThrow(AcpiError);
    expect(build).toThrow(reason);
  });

  it("is refused where it does not fit", () => {
    expect(() => buildMpTable(testPc({ cpus: 64 }), { start: 0xf_0000, end: 0xf_0400 })).toThrow(
      /^the MP table needs \d+ bytes, and 0xf0000 to 0xf0400 has 1024$/,
    );
  });
});
