import { describe, expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import { testdevFlush, testdevIrq, testdevLatch, testdevMemory } from "./pc-testdev.js";

describe("the latch", () => {
  it("reads as what was written, by accesses of any width", () => {
    const bench = new Bench(testdevLatch, 4);
    bench.write(0, 0x1122_3344, 4);
    bench.write(1, 0xaa);
    bench.write(2, 0xbbcc, 2);
    expect(bench.read(0, 4)).toBe(0xbbcc_aa44);
    expect(bench.read(2, 2)).toBe(0xbbcc);
    expect(bench.read(3)).toBe(0xbb);
  });

  it("survives whatever a guest does", () => exercise(testdevLatch, 4));
});

describe("the page flush", () => {
  it("accepts an address and does nothing", () => {
    const bench = new Bench(testdevFlush, 4);
    bench.write(0, 0x1234_5000, 4);
    expect(bench.read(0, 4)).toBe(0);
  });

  it("survives whatever a guest does", () => exercise(testdevFlush, 4));
});

describe("the interrupt lines", () => {
  it("are driven high by any byte but zero, and low by zero", () => {
    const bench = new Bench(testdevIrq, 24);
    bench.write(14, 1);
    bench.write(14, 0);
    bench.write(23, 0x80);
    expect(bench.port.gsis).toEqual([
      { gsi: 14, level: 1 },
      { gsi: 14, level: 0 },
      { gsi: 23, level: 1 },
    ]);
  });

  it("survive whatever a guest does", () => exercise(testdevIrq, 24));
});

describe("the memory", () => {
  it("holds bytes, words and double words at any address", () => {
    const bench = new Bench(testdevMemory);
    bench.write(0x101, 0x1122_3344, 4);
    expect(bench.read(0x101)).toBe(0x44);
    expect(bench.read(0x103, 2)).toBe(0x1122);
    bench.write(0xffff, 0x5a);
    expect(bench.read(0xffff)).toBe(0x5a);
  });

  it("takes a wide access whole and touches nothing beside it", () => {
    const bench = new Bench(testdevMemory);
    bench.state.memory.fill(0xcc, 0x200, 0x20c);
    bench.write(0x204, 0x1122_3344, 4);
    expect([...bench.state.memory.subarray(0x203, 0x209)]).toEqual([0xcc, 0x44, 0x33, 0x22, 0x11, 0xcc]);
    expect(bench.read(0x204, 4)).toBe(0x1122_3344);
  });

  it("is zero after a reset", () => {
    const bench = new Bench(testdevMemory);
    bench.write(8, 0xffff_ffff, 4);
    bench.device.reset();
    expect(bench.read(8, 4)).toBe(0);
  });

  it("survives whatever a guest does", () => exercise(testdevMemory, 0x1_0000, { runs: 40 }));
});
