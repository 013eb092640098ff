import { expect, it } from "vitest";
import { Bench, exercise } from "../testing.js";
import { DEBUG_CONSOLE_ID, debugConsole } from "./debug-console.js";

it("passes on what is written, a byte at a time", () => {
  const bench = new Bench(debugConsole);
  for (const char of "log\n") bench.write(0, char.charCodeAt(0));
  expect(bench.port.text).toBe("log\n");
});

it("answers a read with the byte by which firmware knows it", () => {
  expect(new Bench(debugConsole).read(0)).toBe(DEBUG_CONSOLE_ID);
});

it("counts what the output had no room for", () => {
  const bench = new Bench(debugConsole);
  bench.port.outputRoom = 1;
  for (const byte of [1, 2, 3]) bench.write(0, byte);
  expect(bench.port.emitted).toEqual([1]);
  expect(bench.state.dropped).toBe(2);
});

it("survives whatever a guest does", () => exercise(debugConsole, 1));
