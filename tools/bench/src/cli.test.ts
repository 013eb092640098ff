/** The command itself, and that both sides of the `exits` bench count the same exits of the same guest. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { hasKvm, NEEDS_KVM } from "tools-testing";
import { describe, expect, it } from "vitest";
import { pairGuest, singleGuest } from "./benches/exits-guest.js";
import { BENCHES } from "./benches/index.js";
import { parseCommandLine, UsageError } from "./command-line.js";
import { compile } from "./compile.js";
import { Programs } from "./programs.js";

const BENCH = fileURLToPath(new URL("../bin/bench.js", import.meta.url));
const OURS = fileURLToPath(new URL("../dist/exits-ours.js", import.meta.url));

const bench = (...args: string[]) => spawnSync(process.execPath, [BENCH, ...args], { encoding: "utf8" });

describe("bench", () => {
  it("lists what there is, and explains itself with examples", () => {
    expect(bench().stdout).toMatch(/^ {2}exits +exits per second/);
    const { status, stdout } = bench("--help");
    expect(status).toBe(0);
    for (const { name } of BENCHES) expect(stdout).toContain(`  ${name} `);
    expect(stdout).toContain("Examples:");
  });

  it.each([
    [["speed"], "bench: no bench speed; there are exits, ledger, start, firmware, memory, perf-kvm, blk, net, linux\n"],
    [["exits", "pio", "mmio"], "bench: one bench and one case at a time: exits pio mmio\n"],
    [["exits", "--slow"], "bench: Unknown option '--slow'\n"],
  ])("refuses %j in one line, with status 2", (args, line) => {
    const { status, stdout, stderr } = bench(...args);
    expect({ status, stdout, stderr }).toEqual({ status: 2, stdout: "", stderr: line });
  });

  it("takes its options in any order", () => {
    const expected = { bench: "exits", quick: true, json: true, help: false };
    expect(parseCommandLine(["--json", "exits", "--quick"], ["exits"])).toEqual(expected);
    expect(parseCommandLine(["exits", "pio"], ["exits"])).toMatchObject({ bench: "exits", only: "pio" });
    expect(() => parseCommandLine(["--quick=3"], ["exits"])).toThrow(UsageError);
  });
});

describe.skipIf(!hasKvm)(`the exits bench${NEEDS_KVM}`, () => {
  const COUNT = 2000;
  const ours = (...targets: string[]) =>
    spawnSync(process.execPath, [OURS, String(COUNT), ...targets], { encoding: "utf8" });
  const exitsOf = (lines: string) =>
    lines
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { exits: number; ns: number }).exits);

  it("counts exactly what its guest does, on one vCPU and on two", () => {
    expect(exitsOf(ours("pio:224").stdout)).toEqual([COUNT]);
    expect(exitsOf(ours("mmio:4272947216").stdout)).toEqual([COUNT]);
    expect(exitsOf(ours("pio:224", "pio:1023").stdout)).toEqual([COUNT, COUNT]);
  });

  it("has a peer in C that counts the same", async () => {
    const programs = new Programs();
    try {
      const program = await compile("exits", programs);
      if (typeof program !== "string") throw new Error(program.missing);
      for (const [bus, address] of [
        ["pio", 0xe0],
        ["mmio", 0xfeb0_0010],
      ] as const) {
        const input = singleGuest({ bus, address }, COUNT);
        const { stdout } = await programs.run([program, bus, String(address), String(0xf4)], { input });
        expect(exitsOf(stdout)).toEqual([COUNT]);
      }
    } finally {
      programs.close();
    }
  });

  it("starts its second CPU on a page of its own below 1 MiB", () => {
    const { main, trampoline } = pairGuest(
      [
        { bus: "pio", address: 1 },
        { bus: "pio", address: 2 },
      ],
      1,
    );
    expect(main.length).toBeLessThan(0x1000);
    expect(trampoline.length).toBeLessThanOrEqual(0x1000);
  });
});
