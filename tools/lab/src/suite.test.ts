import { describe, expect, it } from "vitest";
import type { SuiteEntry } from "../suite/entries.js";
import { LabError } from "./errors.js";
import type { LabResult } from "./lab.js";
import { runSuite } from "./suite.js";

const result: LabResult = {
  outcome: "exited",
  exitCode: 0,
  stdout: Buffer.from(""),
  stderr: Buffer.from(""),
  bootMs: 1,
  kernelVersion: "6.1",
  consoleTail: [],
  complaints: [],
};

function entry(name: string, more: Partial<SuiteEntry> = {}): SuiteEntry {
  return { name, command: ["true"], timeoutMs: 1000, ...more };
}

async function outcomeOf(entries: SuiteEntry[], results: (Partial<LabResult> | Error)[], names: string[] = []) {
  const lines: string[] = [];
  const waiting = [...results];
  const { counts } = await runSuite(
    names,
    {},
    { line: (text) => lines.push(text), progress: () => () => {} },
    {
      entries,
      run: async () => {
        const next = waiting.shift()!;
        if (next instanceof Error) throw next;
        return { ...result, ...next };
      },
    },
  );
  return { counts, text: lines.join("\n") };
}

describe("the lab's suite", () => {
  it("says of each entry, by name, whether it passed, failed or was skipped", async () => {
    const { counts, text } = await outcomeOf(
      [
        entry("good"),
        entry("bad"),
        entry("not here"),
        entry("absent", { needsFiles: ["no/such/file"], needsPrograms: ["no-such-program"] }),
      ],
      [
        {},
        { exitCode: 1, stdout: Buffer.from("it broke\n") },
        { exitCode: 77, stdout: Buffer.from("needs a second CPU\n") },
      ],
    );
    expect(counts).toEqual({ passed: 1, failed: 1, skipped: 2 });
    expect(text).toMatch(/ok {4} {2}in the lab: good: passed/);
    expect(text).toMatch(/it broke\nFAILED {2}in the lab: bad: failed/);
    expect(text).toContain("tools-kvm skipped: not here [needs a second CPU]");
    expect(text).toContain("tools-kvm skipped: absent [needs no/such/file, no-such-program]");
    expect(text.endsWith("tools-kvm counts: 1 passed, 1 failed, 2 skipped")).toBe(true);
  });

  it("takes over the counts and skips of an entry that runs tests of its own", async () => {
    const stdout = Buffer.from(
      "tools-kvm skipped: src/a.test.ts > x [needs y]\ntools-kvm counts: 7 passed, 0 failed, 1 skipped\n",
    );
    const { counts, text } = await outcomeOf([entry("tests")], [{ stdout }]);
    expect(counts).toEqual({ passed: 7, failed: 0, skipped: 1 });
    expect(text).toContain("tools-kvm skipped: tests: src/a.test.ts > x [needs y]");
  });

  it("counts a crash, a timeout and a failure without a failed test as one failure", async () => {
    const stdout = Buffer.from("tools-kvm counts: 7 passed, 0 failed, 0 skipped\n");
    const { counts, text } = await outcomeOf(
      [entry("a"), entry("b"), entry("c")],
      [
        { outcome: "crashed", exitCode: 125, consoleTail: ["Kernel panic"] },
        { outcome: "timeout", exitCode: 124 },
        { exitCode: 1, stdout },
      ],
    );
    expect(counts).toEqual({ passed: 7, failed: 3, skipped: 0 });
    expect(text).toContain("console: Kernel panic");
    expect(text).toContain("failed, timeout");
  });

  it("skips by name where the lab cannot be set up", async () => {
    const { counts, text } = await outcomeOf(
      [entry("a")],
      [new LabError("QEMU is not installed", "apt-get install qemu-system-x86")],
    );
    expect(counts).toEqual({ passed: 0, failed: 0, skipped: 1 });
    expect(text).toContain("tools-kvm skipped: a [QEMU is not installed: apt-get install qemu-system-x86]");
  });

  it("runs the entries whose names were given, and refuses a name that fits none", async () => {
    const { counts } = await outcomeOf([entry("binding tests"), entry("exit counts")], [{}], ["exit"]);
    expect(counts.passed).toBe(1);
    await expect(outcomeOf([entry("a")], [], ["zzz"])).rejects.toThrow(/--suite zzz is part of no entry's name: "a"/);
  });
});
