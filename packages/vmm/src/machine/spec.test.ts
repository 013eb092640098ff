import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { e820Map, MMIO_HOLE_END, MMIO_HOLE_START, ramRegions } from "./memory-map.js";
import { formatSize, isMachineName, parseSize } from "./spec.js";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

describe("sizes", () => {
  it.each([
    ["512", 512 * MIB],
    ["64K", 64 * 1024],
    ["2G", 2 * GIB],
    ["2GiB", 2 * GIB],
    ["1.5g", 1.5 * GIB],
    ["1B", 1],
  ])("reads %s", (text, sizeBytes) => expect(parseSize(text)).toBe(sizeBytes));

  it.each(["", "M", "-1", "1X", "0x10", "1e3", "NaN", "99999999999999T"])("refuses %j", (text) =>
    expect(parseSize(text)).toBeUndefined(),
  );

  it("prints what a person would", () => {
    expect([128 * MIB, 1.5 * GIB, 4096, 17].map(formatSize)).toEqual(["128 MiB", "1.5 GiB", "4 KiB", "17 B"]);
  });
});

describe("machine names", () => {
  it.each(["a", "vm-1", "test.2_x"])("takes %s", (name) => expect(isMachineName(name)).toBe(true));
  it.each(["", ".", "../x", "a/b", "-x", "a b", "x".repeat(64)])("refuses %j", (name) =>
    expect(isMachineName(name)).toBe(false),
  );
});

describe("the memory map", () => {
  it("holds all of the RAM, none of it in the device hole, in ascending order", () => {
    fc.assert(
      fc.property(fc.integer({ min: 512, max: 16 * 1024 * 1024 }), (pages) => {
        const regions = ramRegions(pages * 4096);
        expect(regions.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)).toBe(pages * 4096);
        let end = 0;
        for (const { guestPhysAddr, sizeBytes } of regions) {
          expect(guestPhysAddr).toBeGreaterThanOrEqual(end);
          end = guestPhysAddr + sizeBytes;
          expect(end <= MMIO_HOLE_START || guestPhysAddr >= MMIO_HOLE_END).toBe(true);
        }
      }),
    );
  });

  it("tells the guest of RAM that is there, in entries that do not overlap", () => {
    fc.assert(
      fc.property(fc.integer({ min: 512, max: 2 ** 21 }), (pages) => {
        let end = 0;
        for (const { addr, size } of e820Map(pages * 4096)) {
          expect(addr).toBeGreaterThanOrEqual(end);
          expect(size).toBeGreaterThan(0);
          end = addr + size;
        }
      }),
    );
  });

  it("joins regions that touch, so that 3 GiB are one entry", () => {
    expect(e820Map(3 * GIB).filter(({ addr }) => addr >= MIB)).toEqual([{ addr: MIB, size: 3 * GIB - MIB, type: 1 }]);
  });
});
