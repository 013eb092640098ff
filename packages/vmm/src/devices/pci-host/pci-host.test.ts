/** The host bridge: both ways to a configuration space, what can be written of it, and the reset register between its ports. */
import { describe, expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import { PCIEXBAR } from "./functions.js";
import { ECAM_OFFSET, PCI_PORT, pciHost } from "./pci-host.js";

const WINDOW_BYTES = ECAM_OFFSET + 0x10_0000;
const HOST_BRIDGE = 0;
const ISA_BRIDGE = 0x1f << 3;
const NOBODY = 2 << 3;

class PciBench extends Bench<typeof pciHost.state> {
  constructor() {
    super(pciHost, WINDOW_BYTES);
  }
  select(deviceAndFunction: number, register: number, bus = 0): void {
    this.write(PCI_PORT.CONFIG_ADDRESS, 0x8000_0000 + (bus << 16) + (deviceAndFunction << 8) + (register & 0xfc), 4);
  }
  config(deviceAndFunction: number, register: number, sizeBytes: 1 | 2 | 4 = 4, bus = 0): number {
    this.select(deviceAndFunction, register, bus);
    return this.read(PCI_PORT.CONFIG_DATA + (register & 3), sizeBytes);
  }
  setConfig(deviceAndFunction: number, register: number, value: number, sizeBytes: 1 | 2 | 4 = 4): void {
    this.select(deviceAndFunction, register);
    this.write(PCI_PORT.CONFIG_DATA + (register & 3), value, sizeBytes);
  }
}

describe("the configuration ports", () => {
  it("show a Q35's host bridge and ISA bridge, and nobody else", () => {
    const bench = new PciBench();
    expect(bench.config(HOST_BRIDGE, 0)).toBe(0x29c0_8086);
    expect(bench.config(ISA_BRIDGE, 0)).toBe(0x2918_8086);
    expect(bench.config(HOST_BRIDGE, 8)).toBe(0x0600_0000);
    expect(bench.config(ISA_BRIDGE, 8)).toBe(0x0601_0002);
    expect(bench.config(ISA_BRIDGE, 0x0e, 1)).toBe(0x80);
    expect(bench.config(NOBODY, 0)).toBe(0xffff_ffff);
    expect(bench.config(HOST_BRIDGE, 0, 2, 1)).toBe(0xffff);
  });

  it("are silent without the enable bit, and read back only as a whole", () => {
    const bench = new PciBench();
    bench.write(PCI_PORT.CONFIG_ADDRESS, 0x00, 4);
    expect(bench.read(PCI_PORT.CONFIG_DATA, 4)).toBe(0xffff_ffff);
    bench.write(PCI_PORT.CONFIG_ADDRESS, 0x8000_f844, 4);
    expect(bench.read(PCI_PORT.CONFIG_ADDRESS, 4)).toBe(0x8000_f844);
    expect(bench.read(PCI_PORT.CONFIG_ADDRESS, 2)).toBe(0xffff);
  });

  it("write only what can be written, in any width", () => {
    const bench = new PciBench();
    bench.setConfig(HOST_BRIDGE, 0, 0x1234_5678);
    expect(bench.config(HOST_BRIDGE, 0)).toBe(0x29c0_8086);
    bench.setConfig(ISA_BRIDGE, 4, 0xffff, 2);
    expect(bench.config(ISA_BRIDGE, 4, 2)).toBe(0x0107);
    bench.setConfig(ISA_BRIDGE, 0x40, 0x0601);
    expect(bench.config(ISA_BRIDGE, 0x40)).toBe(0x0601);
    bench.setConfig(ISA_BRIDGE, 0x61, 0x0a, 1);
    expect(bench.config(ISA_BRIDGE, 0x60)).toBe(0x8080_0a80);
  });

  it("begin anew with a reset", () => {
    const bench = new PciBench();
    bench.setConfig(ISA_BRIDGE, 0x3c, 11, 1);
    bench.device.reset();
    expect(bench.config(ISA_BRIDGE, 0x3c, 1)).toBe(0);
  });
});

describe("the window in memory", () => {
  it("is there when PCIEXBAR says so, and shows the same registers", () => {
    const bench = new PciBench();
    expect(bench.read(ECAM_OFFSET, 4)).toBe(0xffff_ffff);
    bench.setConfig(HOST_BRIDGE, PCIEXBAR, 0xb000_0001);
    expect(bench.config(HOST_BRIDGE, PCIEXBAR)).toBe(0xb000_0001);
    expect(bench.read(ECAM_OFFSET, 4)).toBe(0x29c0_8086);
    bench.write(ECAM_OFFSET + (ISA_BRIDGE << 12) + 0x3c, 9);
    expect(bench.config(ISA_BRIDGE, 0x3c, 1)).toBe(9);
    expect(bench.read(ECAM_OFFSET + (ISA_BRIDGE << 12) + 0x100, 4)).toBe(0);
    expect(bench.read(ECAM_OFFSET + (NOBODY << 12), 2)).toBe(0xffff);
  });

  it("is where PCIEXBAR says, below 4 GiB, and nowhere after a reset", () => {
    const bench = new PciBench();
    const seen = [bench.state.windowBase];
    for (const [low, high] of [
      [0xe000_0000, 0],
      [0xe000_0001, 0],
      [0xb765_4001, 0],
      [0xb000_0001, 1],
    ] as const) {
      bench.setConfig(HOST_BRIDGE, PCIEXBAR, 0);
      bench.setConfig(HOST_BRIDGE, PCIEXBAR + 4, high);
      bench.setConfig(HOST_BRIDGE, PCIEXBAR, low);
      seen.push(bench.state.windowBase);
    }
    bench.setConfig(HOST_BRIDGE, PCIEXBAR + 4, 0);
    seen.push(bench.state.windowBase);
    bench.device.reset();
    expect([...seen, bench.state.windowBase]).toEqual([0, 0, 0xe000_0000, 0xb000_0000, 0, 0xb000_0000, 0]);
  });
});

describe("port 0xcf9", () => {
  it("is the reset register to a byte, and part of the address to more", () => {
    const bench = new PciBench();
    bench.write(PCI_PORT.CONFIG_ADDRESS, 0x8000_0600, 4);
    expect(bench.port.requests).toEqual([]);
    bench.write(PCI_PORT.RST_CNT, 0x02);
    bench.write(PCI_PORT.RST_CNT, 0x06);
    expect(bench.port.requests).toEqual([{ request: "reset", status: undefined }]);
    expect(bench.read(PCI_PORT.RST_CNT)).toBe(0x06);
    expect(bench.read(PCI_PORT.CONFIG_ADDRESS, 4)).toBe(0x8000_0600);
  });
});

it("takes whatever a guest does", () => {
  exercise(pciHost, WINDOW_BYTES, { runs: 150 });
  exercise(pciHost, 8, { runs: 150 });
});
