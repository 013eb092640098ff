import { expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import { PVPANIC, pvpanic } from "./pvpanic.js";

it("says which events it knows", () => expect(new Bench(pvpanic).read(0)).toBe(3));

it("hands a panic on, and remembers a crash kernel without ending anything", () => {
  const bench = new Bench(pvpanic);
  bench.write(0, PVPANIC.CRASH_LOADED);
  expect(bench.port.requests).toEqual([]);
  bench.write(0, PVPANIC.PANICKED | 0xf0);
  expect(bench.port.requests).toEqual([{ request: "panic", status: undefined }]);
  expect(bench.state.events).toBe(3);
});

it("survives whatever a guest does", () => exercise(pvpanic, 1));
