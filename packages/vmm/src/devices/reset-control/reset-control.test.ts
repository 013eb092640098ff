import { expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import { resetControl } from "./reset-control.js";

it("resets when RST_CPU goes from clear to set", () => {
  const bench = new Bench(resetControl);
  bench.write(0, 0x02);
  expect(bench.port.requests).toEqual([]);
  bench.write(0, 0x06);
  expect(bench.port.requests).toEqual([{ request: "reset", status: undefined }]);
  bench.write(0, 0x06);
  expect(bench.port.requests).toHaveLength(1);
});

it("takes a warm reset for a reset as well", () => {
  const bench = new Bench(resetControl);
  bench.write(0, 0x04);
  expect(bench.port.requests).toHaveLength(1);
});

it("reads back the bits that exist", () => {
  const bench = new Bench(resetControl);
  bench.write(0, 0xfb);
  expect(bench.read(0)).toBe(0x0a);
});

it("survives whatever a guest does", () => exercise(resetControl, 1));
