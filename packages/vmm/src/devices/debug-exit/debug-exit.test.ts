import { expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import { debugExit } from "./debug-exit.js";

it.each([
  [0, 1],
  [1, 3],
  [38, 77],
  [63, 127],
  [0x8000_0000, 1],
])("ends with a write of %i as status %i", (value, status) => {
  const bench = new Bench(debugExit);
  bench.write(0, value, 4);
  expect(bench.port.requests).toEqual([{ request: "exit", status }]);
});

it("ends on a write of any width", () => {
  const bench = new Bench(debugExit);
  bench.write(0, 2, 1);
  bench.write(0, 2, 2);
  expect(bench.port.requests.map(({ status }) => status)).toEqual([5, 5]);
});

it("reads as zero", () => {
  expect(new Bench(debugExit).read(0, 4)).toBe(0);
});

it("survives whatever a guest does", () => exercise(debugExit, 4));
