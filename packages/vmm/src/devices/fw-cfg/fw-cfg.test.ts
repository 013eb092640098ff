import { expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import { FW_CFG_KEY, fwCfg } from "./fw-cfg.js";

function item(bench: Bench<typeof fwCfg.state>, key: number, length: number): number[] {
  bench.write(0, key, 2);
  return Array.from({ length }, () => bench.read(1));
}

it("signs itself as guests expect", () => {
  const bench = new Bench(fwCfg);
  expect(String.fromCharCode(...item(bench, FW_CFG_KEY.SIGNATURE, 4))).toBe("QEMU");
});

it("offers the traditional interface and no DMA", () => {
  expect(item(new Bench(fwCfg), FW_CFG_KEY.ID, 4)).toEqual([1, 0, 0, 0]);
});

it("tells the size of the RAM in 64 bits and the CPUs in 16, low byte first", () => {
  const bench = new Bench(fwCfg);
  bench.state.ramSizeBytes = 0x1_2345_6000;
  bench.state.cpuCount = 4;
  bench.state.maxCpuCount = 258;
  expect(item(bench, FW_CFG_KEY.RAM_SIZE, 8)).toEqual([0x00, 0x60, 0x45, 0x23, 0x01, 0, 0, 0]);
  expect(item(bench, FW_CFG_KEY.NB_CPUS, 2)).toEqual([4, 0]);
  expect(item(bench, FW_CFG_KEY.MAX_CPUS, 2)).toEqual([2, 1]);
});

it("keeps what the machine said across a reset", () => {
  const bench = new Bench(fwCfg);
  bench.state.cpuCount = 3;
  bench.device.reset();
  expect(item(bench, FW_CFG_KEY.NB_CPUS, 2)).toEqual([3, 0]);
});

it("reads zeros past the end of an item and for keys that do not exist", () => {
  const bench = new Bench(fwCfg);
  expect(item(bench, FW_CFG_KEY.SIGNATURE, 6).slice(4)).toEqual([0, 0]);
  expect(item(bench, 0x19, 4)).toEqual([0, 0, 0, 0]);
});

it("starts an item anew when it is selected again", () => {
  const bench = new Bench(fwCfg);
  item(bench, FW_CFG_KEY.SIGNATURE, 2);
  expect(item(bench, FW_CFG_KEY.SIGNATURE, 1)).toEqual([0x51]);
});

it("gives data only at the data port", () => {
  const bench = new Bench(fwCfg);
  bench.write(0, FW_CFG_KEY.SIGNATURE, 2);
  expect([bench.read(0), bench.read(0, 2), bench.read(2)]).toEqual([0, 0, 0]);
  expect(bench.read(1)).toBe(0x51);
});

it("does not take a byte for a selector", () => {
  const bench = new Bench(fwCfg);
  item(bench, FW_CFG_KEY.SIGNATURE, 1);
  bench.write(0, FW_CFG_KEY.ID, 1);
  expect(bench.read(1)).toBe(0x45);
});

it("survives whatever a guest does", () =>
  exercise(fwCfg, 2, { survivesReset: ["ramSizeBytes", "cpuCount", "maxCpuCount"] }));
