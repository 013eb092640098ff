import { expect, it } from "vitest";
import { ringPages } from "./ring-size.js";

const totalMiB = (threads: number, most: number): number =>
  Array.from({ length: threads }, (_, open) => ringPages(open, most)).reduce((sum, pages) => sum + pages, 0) / 256;

it("gives few threads large rings, and bounds what hundreds take together", () => {
  expect(totalMiB(1, 256)).toBe(1);
  expect(totalMiB(64, 256)).toBe(64);
  expect(totalMiB(200, 256)).toBeLessThan(128);
  expect(totalMiB(200, 1024)).toBeLessThan(512);
  expect(totalMiB(2000, 256)).toBeLessThan(320);
});

it("gives powers of two alone, of at least 64 KiB", () => {
  for (const open of [0, 63, 64, 1000, 100_000, 1e9]) expect([16, 32, 64, 128, 256]).toContain(ringPages(open, 256));
});
