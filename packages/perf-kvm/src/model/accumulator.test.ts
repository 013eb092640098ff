import { expect, it } from "vitest";
import type { SourceRow } from "../sources/source.js";
import { Accumulator } from "./accumulator.js";
import { Stat } from "./stat.js";

function row(reason: string, count: number, ns: number): SourceRow {
  const handler = new Stat();
  for (let i = 0; i < count; i++) handler.add(ns);
  return { source: "ledger", reason, detail: "0xe0 out", count, handler, spentNs: count * ns, device: "latch" };
}

it("adds up rows of the same kind over the periods, and leaves what it was given as it is", () => {
  const sum = new Accumulator();
  const first = row("IO", 2, 100);
  sum.add([first, row("MMIO", 1, 7)]);
  sum.add([row("IO", 3, 200)]);
  sum.add([]);
  expect(sum.rows).toMatchObject([
    { reason: "IO", count: 5, spentNs: 800 },
    { reason: "MMIO", count: 1, spentNs: 7 },
  ]);
  expect(sum.rows[0]!.handler).toMatchObject({ count: 5, minNs: 100, maxNs: 200 });
  expect(first).toMatchObject({ count: 2, spentNs: 200 });
});

it("keeps what a source does not know absent", () => {
  const sum = new Accumulator();
  const unknown: SourceRow = { source: "userspace", reason: "HLT", detail: "", count: 1 };
  sum.add([unknown]);
  sum.add([unknown]);
  const [total] = sum.rows;
  expect(total).toMatchObject({ count: 2 });
  expect([total!.away, total!.handler, total!.spentNs]).toEqual([undefined, undefined, undefined]);
});

it("goes on without details when there are too many of them", () => {
  const sum = new Accumulator();
  for (let port = 0; port < 5000; port++)
    sum.add([{ source: "userspace", reason: "IO", detail: `${port} in`, count: 1 }]);
  expect(sum.rows).toHaveLength(2048 + 1);
  expect(sum.rows.reduce((all, { count }) => all + count, 0)).toBe(5000);
});
