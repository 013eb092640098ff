import { describe, expect, it } from "vitest";
import type { Bench, Case } from "./bench.js";
import { Programs } from "./programs.js";
import { jsonLine, notes, table } from "./report.js";
import { type Figure, median, ratio, runBench, runCase } from "./runner.js";

describe("a case", () => {
  it("runs both sides in turn, each first every other time, and takes medians", async () => {
    const order: string[] = [];
    const values = { ours: [10, 30, 20], peer: [5, 4, 6] };
    const side = (name: keyof typeof values) => async () => {
      order.push(name);
      return values[name].shift()!;
    };
    const each: Case = { name: "c", unit: "ms", ours: side("ours"), peer: { name: "p", measure: side("peer") } };
    const rounds: number[] = [];
    const figure = await runCase("b", each, 3, (round) => rounds.push(round));
    expect(order).toEqual(["ours", "peer", "peer", "ours", "ours", "peer"]);
    expect(rounds).toEqual([0, 1, 2]);
    expect(figure).toMatchObject({
      bench: "b",
      case: "c",
      ours: { median: 20, min: 10, max: 30 },
      peer: { median: 5, min: 4, max: 6 },
      ratio: 0.25,
      runs: 3,
    });
  });

  it("has no ratio without a peer, and says which one is missing", async () => {
    const each: Case = { name: "c", unit: "MB", ours: async () => 1, peer: { name: "p", missing: "install p" } };
    const figure = await runCase("b", each, 1, () => {});
    expect(figure).toMatchObject({ peer: null, ratio: null, missing: "install p" });
    expect(notes([figure])).toEqual(["install p"]);
  });

  it("is larger when we are better: more exits, fewer milliseconds", () => {
    expect(ratio("exits/s", 200, 100)).toBe(2);
    expect(ratio("ms", 200, 100)).toBe(0.5);
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
  });
});

describe("figures", () => {
  const figure: Figure = {
    bench: "start",
    case: "power off",
    unit: "ms",
    ours: { median: 20.123456, min: 19, max: 21 },
    peer: { median: 60.2, min: 60, max: 61 },
    peerName: "QEMU",
    ratio: 2.99123,
    runs: 3,
  };

  it("are one JSON object a line with the promised fields and no more", () => {
    const expected = { bench: "start", case: "power off", unit: "ms", ours: 20.12, peer: 60.2, ratio: 2.991, runs: 3 };
    expect(JSON.parse(jsonLine(figure))).toEqual(expected);
    expect(Object.keys(JSON.parse(jsonLine(figure)))).toEqual(Object.keys(expected));
    expect(JSON.parse(jsonLine({ ...figure, peer: null, ratio: null }))).toMatchObject({ peer: null, ratio: null });
  });

  it("are a table whose columns stand under their headings", () => {
    const [heading, row] = table([figure]).split("\n");
    expect(row).toMatch(/^power off +ms +20\.1 +19\.0-21\.0 +60\.2 +60\.0-61\.0 +2\.99 +3$/);
    expect(row!.indexOf("ms")).toBe(heading!.indexOf("UNIT"));
    expect(row!.length).toBe(heading!.length);
    expect(notes([figure])).toEqual(["peer: QEMU"]);
  });

  it("come as soon as their case is done, with fewer runs when it has to be quick", async () => {
    const bench: Bench = {
      name: "b",
      summary: "",
      runs: { full: 5, quick: 2 },
      cases: () => ["one", "two"].map((name) => ({ name, unit: "ns", ours: async () => 1 })),
    };
    const programs = new Programs();
    try {
      const seen: unknown[] = [];
      const onRound = (name: string, round: number, rounds: number) => seen.push(`${name} ${round}/${rounds}`);
      for await (const each of runBench(bench, { quick: true, programs }, onRound)) seen.push(each.case);
      expect(seen).toEqual(["one 0/2", "one 1/2", "one", "two 0/2", "two 1/2", "two"]);
    } finally {
      programs.close();
    }
  });
});
