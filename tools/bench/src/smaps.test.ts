import { readFileSync, readlinkSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { footprint, parseSmaps, togetherBytes } from "./smaps.js";

const mapping = (name: string, fields: Record<string, number>): string =>
  `7f0000000000-7f0000001000 r--p 00000000 08:01 123                        ${name}\n${Object.entries(fields)
    .map(([field, kib]) => `${field}:${String(kib).padStart(16)} kB\n`)
    .join("")}`;

describe("a process's memory", () => {
  it("is its share of what it shares, and its program in full", () => {
    const smaps = [
      mapping("/usr/bin/program", { Rss: 100, Pss: 30, Anonymous: 4 }),
      mapping("", { Rss: 50, Pss: 50, Anonymous: 50 }),
      mapping("/lib/libc.so", { Rss: 80, Pss: 8, Anonymous: 0 }),
      mapping("/memfd:guest-ram (deleted)", { Rss: 9000, Pss: 9000, Anonymous: 0 }),
    ].join("");
    expect(parseSmaps(smaps, "/usr/bin/program", "memfd:guest-ram")).toEqual({
      programBytes: 96 * 1024,
      restBytes: (4 + 50 + 8) * 1024,
    });
  });

  it("of several processes has their program once", () => {
    const one = { programBytes: 100, restBytes: 10 };
    expect(togetherBytes([])).toBe(0);
    expect(togetherBytes([one, one, one])).toBe(130);
  });

  it("is that of the kernel for this very process", () => {
    const { programBytes, restBytes } = footprint(process.pid, "no such mapping");
    const rollup = readFileSync("/proc/self/smaps_rollup", "utf8");
    const pss = Number(/^Pss:\s+(\d+)/m.exec(rollup)![1]) * 1024;
    const rss = Number(/^Rss:\s+(\d+)/m.exec(rollup)![1]) * 1024;
    // Not less than the proportional share, not more than everything; a tenth for what changes in between.
    expect(programBytes + restBytes).toBeGreaterThan(pss * 0.9);
    expect(programBytes + restBytes).toBeLessThan(rss * 1.1);
    expect(readlinkSync("/proc/self/exe")).toContain("node");
  });

  it("is a number, whatever the text", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const { programBytes, restBytes } = parseSmaps(text, "/bin/x", "ram");
        expect(Number.isFinite(programBytes) && Number.isFinite(restBytes)).toBe(true);
      }),
    );
  });
});
