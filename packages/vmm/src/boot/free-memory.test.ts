import { expect, it } from "vitest";
import { E820 } from "../machine/memory-map.js";
import { FreeMemory } from "./free-memory.js";

const MIB = 2 ** 20;
const ram = (addr: number, size: number) => ({ addr, size, type: E820.RAM });
const reserved = (addr: number, size: number) => ({ addr, size, type: E820.RESERVED });

it("gives the lowest room from a floor on, aligned, and then the next", () => {
  const free = new FreeMemory([ram(MIB, 16 * MIB)]);
  expect(free.takeLowest(100, 4096, MIB + 1)).toBe(MIB + 4096);
  expect(free.takeLowest(100, 4096, MIB + 1)).toBe(MIB + 8192);
  expect(free.takeLowest(4096, 4096, 0)).toBe(MIB);
  expect(free.takeLowest(4096, 4096, 0)).toBe(MIB + 3 * 4096);
});

it("gives the highest room below a roof, aligned, and then the next", () => {
  const free = new FreeMemory([ram(MIB, 16 * MIB)]);
  expect(free.takeHighest(100, 16, 2 * MIB)).toBe(2 * MIB - 112);
  expect(free.takeHighest(100, 16, 2 * MIB)).toBe(2 * MIB - 224);
  expect(free.takeHighest(MIB, 16, 20 * MIB)).toBe(16 * MIB);
});

it("gives room that fits exactly, and no more", () => {
  const free = new FreeMemory([ram(MIB, 8192)]);
  expect(free.takeLowest(8193, 1, 0)).toBeUndefined();
  expect(free.takeHighest(8193, 1, 4 * MIB)).toBeUndefined();
  expect(free.takeHighest(4096, 4096, 4 * MIB)).toBe(MIB + 4096);
  expect(free.takeHighest(4096, 4096, 4 * MIB)).toBe(MIB);
  expect(free.takeLowest(1, 1, 0)).toBeUndefined();
});

it("takes what it is asked for only when all of it is free", () => {
  const free = new FreeMemory([ram(MIB, 3 * 4096), reserved(MIB + 4096, 4096)]);
  expect(free.take(MIB, 4097)).toBe(false);
  expect(free.take(MIB + 4096, 1)).toBe(false);
  expect(free.take(MIB, 4096)).toBe(true);
  expect(free.take(MIB, 1)).toBe(false);
  expect(free.take(MIB + 8192, 4096)).toBe(true);
});

it("looks through a map that is in no order", () => {
  const free = new FreeMemory([ram(8 * MIB, MIB), ram(2 * MIB, MIB), ram(5 * MIB, MIB)]);
  expect(free.takeLowest(MIB, 4096, 0)).toBe(2 * MIB);
  expect(free.takeHighest(MIB, 4096, 16 * MIB)).toBe(8 * MIB);
  expect(free.takeLowest(MIB, 4096, 0)).toBe(5 * MIB);
});

it("has neither the first page, nor the legacy hole, nor what lies beyond 4 GiB, nor what is no RAM", () => {
  const free = new FreeMemory([ram(0, 2 * MIB), ram(4096 * MIB - 4096, 8192), reserved(3 * MIB, MIB)]);
  for (const gpa of [0, 0xfff, 0xa_0000, 0xf_ffff, 4096 * MIB, 3 * MIB]) expect(free.take(gpa, 1)).toBe(false);
  for (const gpa of [0x1000, 0x9_ffff, 0x10_0000, 4096 * MIB - 1]) expect(free.take(gpa, 1)).toBe(true);
});
