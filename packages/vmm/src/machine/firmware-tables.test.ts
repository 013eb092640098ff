import { describe, expect, it } from "vitest";
import { firmwareTables } from "./firmware-tables.js";
import { E820, e820Map } from "./memory-map.js";
import { describePc, placeDevices } from "./pc.js";
import { DEFAULT_MEMORY_BYTES, MAXIMUM_CPUS, type MachineSpec } from "./spec.js";

const spec = (more: Partial<MachineSpec> = {}): MachineSpec => ({
  name: "tables",
  cpus: 1,
  memoryBytes: DEFAULT_MEMORY_BYTES,
  irqchip: "kernel",
  testDevices: true,
  ...more,
});

describe.each([
  { cpus: 1, irqchip: "kernel" },
  { cpus: MAXIMUM_CPUS, irqchip: "kernel" },
  { cpus: MAXIMUM_CPUS, irqchip: "split" },
] as const)("the tables of a machine with $cpus CPUs and a $irqchip irqchip", (more) => {
  const { segments, rsdp } = firmwareTables(spec(more));

  it("lie apart from each other, in what the guest is told to be reserved", () => {
    const reserved = e820Map(DEFAULT_MEMORY_BYTES).filter(({ type }) => type === E820.RESERVED);
    const sorted = [...segments].sort((a, b) => a.gpa - b.gpa);
    sorted.forEach(({ gpa, bytes }, index) => {
      const end = gpa + bytes.length;
      expect(reserved.some(({ addr, size }) => gpa >= addr && end <= addr + size)).toBe(true);
      expect(end).toBeLessThanOrEqual(sorted[index + 1]?.gpa ?? Number.POSITIVE_INFINITY);
    });
  });

  it("begin with ACPI's root pointer, and have an MP table", () => {
    const root = segments.find(({ gpa }) => gpa === rsdp);
    expect(Buffer.from(root!.bytes).subarray(0, 8).toString()).toBe("RSD PTR ");
    expect(segments.some(({ bytes }) => Buffer.from(bytes).subarray(0, 4).toString() === "_MP_")).toBe(true);
  });
});

it("the guest is told of every device at the port where it is", () => {
  const { pm, reset, rtc, keyboard, serialPorts } = describePc(spec());
  const told = [pm.port, reset.port, rtc!.port, keyboard!.dataPort, keyboard!.commandPort, serialPorts[0]!.port];
  const placed = placeDevices(spec()).flatMap(({ windows }) => windows.map(({ base }) => base));
  for (const port of told) expect(placed).toContain(port);
});

describe("a PCI bus", () => {
  const tables = (machine: MachineSpec): string[] =>
    firmwareTables(machine).segments.map(({ bytes }) => Buffer.from(bytes.subarray(0, 4)).toString());
  const onPci = (more: Partial<MachineSpec> = {}) =>
    spec({ bus: "pci", virtio: [{ kind: "entropy" }], testDevices: false, ...more });
  const windowsOf = (machine: MachineSpec) =>
    placeDevices(machine)
      .flatMap(({ windows }) => windows)
      .filter(({ bus }) => bus === "mmio");

  it("is in the tables where it is, and virtio devices are on it alone", () => {
    const { pci, virtioMmio } = describePc(onPci());
    expect(virtioMmio).toEqual([]);
    const windows = windowsOf(onPci());
    expect(windows.map(({ base }) => base)).toContain(pci!.ecamBase);
    const { base, sizeBytes } = pci!.memory32[0]!;
    expect(windows.filter(({ isMovable }) => isMovable).map((window) => window.base)).toEqual([base]);
    expect(base + sizeBytes).toBe(pci!.ecamBase);
    const mcfg = firmwareTables(onPci()).segments[tables(onPci()).indexOf("MCFG")];
    expect(Buffer.from(mcfg!.bytes).readUInt32LE(44)).toBe(pci!.ecamBase);
  });

  it("that firmware sets up has room for windows beside RAM and ECAM, of which the tables say nothing", () => {
    for (const gibibytes of [0.125, 2, 2.5, 2.75]) {
      const machine = onPci({ chipset: "q35", memoryBytes: gibibytes * 2 ** 30 });
      expect(tables(machine)).not.toContain("MCFG");
      const taken = [
        { base: 0, sizeBytes: machine.memoryBytes },
        { base: 0xb000_0000, sizeBytes: 2 ** 28 },
        { base: 0xe000_0000, sizeBytes: 2 ** 28 },
        ...windowsOf(machine).filter(({ isMovable }) => !isMovable),
      ];
      for (const { base, sizeBytes } of describePc(machine).pci!.memory32)
        for (const other of taken)
          expect(other.base + other.sizeBytes <= base || other.base >= base + sizeBytes).toBe(true);
    }
  });
});
