/** A machine's PCI bus as its guest sees it: by ports and in memory, with windows that move. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readWindow, writeWindow } from "../bus/bus.js";
import { IOAPIC, REDIRECTION } from "../devices/ioapic/ioapic.js";
import { BAR, BAR_BYTES, CONFIG } from "../virtio/pci/layout.js";
import { ENTRY } from "../virtio/pci/msix.js";
import { COMMON } from "../virtio/transport-pci.js";
import { Assembly, createState, type PciWiring } from "./assembly.js";
import { IOAPIC_BASE, PCI_ECAM_BASE, PCI_WINDOWS } from "./memory-map.js";
import type { MachineSpec } from "./spec.js";

const spec: MachineSpec = {
  name: "pci",
  cpus: 1,
  memoryBytes: 2 ** 24,
  irqchip: "kernel",
  virtio: [
    { kind: "entropy" },
    { kind: "block", path: "/disk", readonly: false, cache: "writeback", serial: "", queues: 2, sizeBytes: 2 ** 20 },
  ],
  bus: "pci",
  testDevices: false,
};
const [ENTROPY, DISK, NOBODY] = [1 << 15, 2 << 15, 3 << 15];

class Guest {
  readonly moves: [string, number, number][] = [];
  readonly notified: [string, number][] = [];
  readonly raised: string[] = [];
  readonly endedLines: number[] = [];
  routes: Parameters<PciWiring["routeVectors"]>[0] = [];
  readonly assembly: Assembly;

  constructor(irqchip: MachineSpec["irqchip"] = "kernel", chipset?: "q35") {
    const nothing = (): void => {};
    const machine = { ...spec, irqchip, ...(chipset && { chipset }) };
    this.assembly = new Assembly(machine, createState(machine), {
      irqLine: nothing,
      sendMsi: nothing,
      routeMsis: (messages) => {
        this.routes = messages;
      },
      pci: {
        moveWindow: (...move) => this.moves.push(move),
        raiseLine: (device) => this.raised.push(device),
        endLine: (gsi) => this.endedLines.push(gsi),
        notify: (...notified) => this.notified.push(notified),
        routeVectors: (messages) => {
          this.routes = messages;
        },
      },
      wakeReader: nothing,
      request: nothing,
      memory: () => undefined,
      fwCfgItem: () => undefined,
      flash: () => undefined,
      nowNs: () => 0,
      wallClockMs: () => 0,
    });
    this.assembly.reset();
  }
  read(address: number, sizeBytes: number): number | undefined {
    const window = this.assembly.mmio.find(address);
    return window && readWindow(window, address, sizeBytes);
  }
  write(address: number, sizeBytes: number, value: number): void {
    const window = this.assembly.mmio.find(address);
    if (window !== undefined) writeWindow(window, address, sizeBytes, value);
  }
  port(port: number, sizeBytes: number, value?: number): number {
    const window = this.assembly.pio.find(port)!;
    if (value === undefined) return readWindow(window, port, sizeBytes);
    writeWindow(window, port, sizeBytes, value);
    return value;
  }
  /** Turns a function's memory on. */
  enable(ecam: number): void {
    this.write(PCI_ECAM_BASE + ecam + CONFIG.COMMAND, 2, 2);
  }
}

describe("functions", () => {
  it("are found behind the host bridge, by ports and in memory", () => {
    const guest = new Guest();
    expect(guest.read(PCI_ECAM_BASE, 4)).toBe(0x29c0_8086);
    expect(guest.read(PCI_ECAM_BASE + ENTROPY, 4)).toBe(0x1044_1af4);
    expect(guest.read(PCI_ECAM_BASE + DISK, 4)).toBe(0x1042_1af4);
    expect(guest.read(PCI_ECAM_BASE + NOBODY, 4)).toBe(0xffff_ffff);
    guest.port(0xcf8, 4, 0x8000_1000);
    expect(guest.port(0xcfe, 2)).toBe(0x1042);
    guest.port(0xcf8, 4, 0x8000_1100);
    expect(guest.port(0xcfc, 4)).toBe(0xffff_ffff);
  });

  it("have windows of their own, which are there while memory is on, and move", () => {
    const guest = new Guest();
    const second = PCI_WINDOWS.base + BAR_BYTES;
    expect(guest.read(second + COMMON.NUM_QUEUES, 2)).toBe(undefined);
    guest.enable(DISK);
    expect(guest.read(second + COMMON.NUM_QUEUES, 2)).toBe(2);
    expect(guest.read(second - 2, 2)).toBe(undefined);
    guest.write(second + BAR.NOTIFY + 4, 2, 1);
    guest.write(PCI_ECAM_BASE + DISK + CONFIG.BAR0, 4, 0xd000_0000);
    expect(guest.read(second + COMMON.NUM_QUEUES, 2)).toBe(undefined);
    expect(guest.read(0xd000_0000 + COMMON.NUM_QUEUES, 2)).toBe(2);
    expect(guest.moves).toEqual([
      ["virtio-blk0", 0, second],
      ["virtio-blk0", second, 0xd000_0000],
    ]);
    expect(guest.notified).toEqual([["virtio-blk0", 1]]);
    guest.assembly.reset();
    expect(guest.read(0xd000_0000, 4)).toBe(undefined);
  });

  it("never hide what stands fast", () => {
    const guest = new Guest();
    guest.enable(DISK);
    guest.write(PCI_ECAM_BASE + DISK + CONFIG.BAR0, 4, PCI_ECAM_BASE);
    expect(guest.read(PCI_ECAM_BASE, 4)).toBe(0x29c0_8086);
  });

  it("have routes of their vectors beside each other", () => {
    const guest = new Guest();
    guest.enable(ENTROPY);
    guest.enable(DISK);
    [PCI_WINDOWS.base, PCI_WINDOWS.base + BAR_BYTES].forEach((base, index) => {
      const entry = base + BAR.MSIX_TABLE + 4 * ENTRY.WORDS;
      guest.write(entry, 4, 0xfee0_1000);
      guest.write(entry + 4 * ENTRY.DATA, 4, 0x50 + index);
      guest.write(entry + 4 * ENTRY.CONTROL, 4, 0);
    });
    // The entropy device has two vectors, from GSI 24 on.
    expect(guest.routes).toEqual([
      { gsi: 25, address: 0xfee0_1000, addressHigh: 0, data: 0x50 },
      { gsi: 27, address: 0xfee0_1000, addressHigh: 0, data: 0x51 },
    ]);
  });

  it("have routes of their vectors behind those of a split irqchip's pins, whichever is set last", () => {
    const guest = new Guest("split");
    const entry = PCI_WINDOWS.base + BAR.MSIX_TABLE;
    const setPin16 = (low: number): void => {
      guest.write(IOAPIC_BASE + IOAPIC.IOREGSEL, 4, 0x10 + 2 * 16);
      guest.write(IOAPIC_BASE + IOAPIC.IOWIN, 4, low);
    };
    const last = () => guest.routes.filter(({ gsi }) => gsi === 16 || gsi >= 24);
    guest.enable(ENTROPY);
    guest.write(entry, 4, 0xfee0_1000);
    guest.write(entry + 4 * ENTRY.DATA, 4, 0x50);
    guest.write(entry + 4 * ENTRY.CONTROL, 4, 0);
    setPin16(0x41 | REDIRECTION.LEVEL);
    const vector = { gsi: 24, address: 0xfee0_1000, addressHigh: 0, data: 0x50 };
    const pin = { gsi: 16, address: 0xfee0_0000, data: 0xc041 };
    expect(last()).toEqual([pin, vector]);
    expect(guest.endedLines).toEqual([16]);
    setPin16(0x41 | REDIRECTION.LEVEL | REDIRECTION.MASKED);
    expect(last()).toEqual([vector]);
    guest.write(entry + 4 * ENTRY.DATA, 4, 0x51);
    expect(guest.routes).toEqual([{ ...vector, data: 0x51 }]);
  });
});

it("firmware finds no configuration space in memory until it has said where", () => {
  const guest = new Guest("kernel", "q35");
  const setPciexbar = (value: number): void => {
    guest.port(0xcf8, 4, 0x8000_0060);
    guest.port(0xcfc, 4, value);
  };
  expect([0xb000_0000, 0xe000_0000].map((base) => guest.read(base, 4))).toEqual([undefined, undefined]);
  setPciexbar(0xe000_0001);
  expect([0xb000_0000, 0xe000_0000].map((base) => guest.read(base, 4))).toEqual([undefined, 0x29c0_8086]);
  guest.write(0xe000_0000 + DISK + CONFIG.BAR0, 4, 0xb000_0000);
  guest.write(0xe000_0000 + DISK + CONFIG.COMMAND, 2, 2);
  expect(guest.read(0xb000_0000 + COMMON.NUM_QUEUES, 2)).toBe(2);
  setPciexbar(0xb000_0001);
  expect([0xb000_0000, 0xe000_0000].map((base) => guest.read(base, 4))).toEqual([0x29c0_8086, undefined]);
});

it("a guest's accesses to the bus never throw, and find only windows that hold them", () => {
  const place = fc.oneof(
    fc.nat({ max: 2 ** 18 }).map((at) => PCI_ECAM_BASE + at),
    fc.nat({ max: 0x100 }).map((at) => PCI_ECAM_BASE + DISK + at),
    fc.nat({ max: 3 * BAR_BYTES }).map((at) => PCI_WINDOWS.base + at),
    fc.nat({ max: 0xffff_ffff }),
  );
  const access = fc.record({
    place,
    sizeBytes: fc.constantFrom(1, 2, 4),
    value: fc.option(fc.nat({ max: 0xffff_ffff })),
  });
  fc.assert(
    fc.property(fc.array(access, { maxLength: 60 }), (accesses) => {
      const guest = new Guest();
      guest.enable(ENTROPY);
      for (const { place, sizeBytes, value } of accesses) {
        const window = guest.assembly.mmio.find(place);
        if (window !== undefined) expect(place - window.base).toBeLessThan(window.sizeBytes);
        if (value !== null) guest.write(place, sizeBytes, value % 2 ** (8 * sizeBytes));
        else expect(guest.read(place, sizeBytes) ?? 0).toBeLessThan(2 ** (8 * sizeBytes));
      }
    }),
    { numRuns: 300 },
  );
});
