import { describe, expect, it } from "vitest";
import { TaskStream } from "./task-stream.mjs";
import { TestSummary } from "./test-summary.mjs";

/** What nx writes, in its static style, for these blocks. @param {string} blocks @param {string[]} [failed] */
function nxOutput(blocks, failed = []) {
  const closing = failed.length === 0 ? "" : `\nFailed tasks:\n\n${failed.map((task) => `- ${task}`).join("\n")}\n`;
  return `\n NX   Running targets typecheck, test for 2 projects:\n\n- a\n- b\n\n\n${blocks}\n\n NX   done\n${closing}`;
}

/** @param {string} output */
function summarise(output) {
  const summary = new TestSummary();
  const printed = /** @type {string[]} */ ([]);
  const stream = new TaskStream((task) => printed.push(summary.add(task)));
  for (const line of output.split("\n")) stream.push(line);
  stream.end();
  printed.push(...summary.close(stream.failed, stream.notRun));
  return { summary, text: summary.text(), printed: printed.join("") };
}

const PASSING = `
> nx run a:test  [local cache]

> a@0.0.0 test
> vitest run

 \x1b[32m✓\x1b[39m src/x.test.ts
tools-kvm skipped: src/x.test.ts > a VM > runs [needs /dev/kvm]
tools-kvm skipped: src/x.test.ts > a tap > opens [needs root]
tools-kvm counts: 12 passed, 0 failed, 2 skipped
`;

describe("the summary of npm test", () => {
  it("adds up the packages and ends with the totals alone on a line", () => {
    const second = PASSING.replace("nx run a:test", "nx run b:test");
    const { summary, text } = summarise(nxOutput(PASSING + second));
    expect(text.endsWith("\n24 passed, 0 failed, 4 skipped\n")).toBe(true);
    expect(summary.failed).toBe(false);
  });

  it("names what was skipped by reason, from the cache as well as from a run", () => {
    const { text, printed } = summarise(nxOutput(PASSING));
    expect(text).toContain("  needs /dev/kvm\n    a: src/x.test.ts > a VM > runs\n");
    expect(text).toContain("  needs root\n    a: src/x.test.ts > a tap > opens\n");
    expect(printed).toMatch(/^ok\s+a\s+12 passed, 0 failed, 2 skipped {2}\(cached\)$/m);
  });

  it("counts a failed test once, and names its task", () => {
    const failing = PASSING.replace("12 passed, 0 failed", "11 passed, 1 failed");
    const { summary, text, printed } = summarise(nxOutput(failing, ["a:test"]));
    expect(summary.failed).toBe(true);
    expect(text).toContain("Failed:\n  a:test\n");
    expect(text.endsWith("\n11 passed, 1 failed, 2 skipped\n")).toBe(true);
    expect(printed.match(/FAILED/g)).toHaveLength(1);
  });

  it("counts a typecheck that failed as one failure", () => {
    const typecheck = "\n> nx run a:typecheck\n\n> tsc\n\nsrc/x.ts(1,1): error TS2322: no\n";
    const { text } = summarise(nxOutput(typecheck, ["a:typecheck"]));
    expect(text.endsWith("\n0 passed, 1 failed, 0 skipped\n")).toBe(true);
  });

  it("shows the output of a task that only nx knows to have failed, and counts it", () => {
    const silent = "\n> nx run a:test\n\nSegmentation fault\n";
    const { text, printed } = summarise(nxOutput(silent, ["a:test", "b:test"]));
    expect(printed).toContain("Segmentation fault");
    expect(text).toContain("Failed:\n  a:test\n  b:test\n");
    expect(text.endsWith("\n0 passed, 2 failed, 0 skipped\n")).toBe(true);
  });

  it("counts a test that is no vitest by its status", () => {
    const other = "\n> nx run a:test\n\n> make check\n";
    expect(summarise(nxOutput(other)).text.endsWith("\n1 passed, 0 failed, 0 skipped\n")).toBe(true);
    expect(summarise(nxOutput(other, ["a:test"])).text.endsWith("\n0 passed, 1 failed, 0 skipped\n")).toBe(true);
  });

  it("counts what nx did not run as failed, and says why", () => {
    const output = `${nxOutput("")}\nTasks not run because their dependencies failed or --nx-bail=true:\n\n- b:test\n\nFailed tasks:\n\n- a:build\n`;
    const { text } = summarise(output);
    expect(text).toContain("Failed:\n  a:build\n  b:test did not run, because what it builds on failed\n");
    expect(text.endsWith("\n0 passed, 2 failed, 0 skipped\n")).toBe(true);
  });

  it("reads vitest's own count where a package has no reporter of ours", () => {
    const plain =
      "\n> nx run a:test\n\n\x1b[2m      Tests \x1b[22m \x1b[1m\x1b[32m19 passed\x1b[39m\x1b[22m | 3 skipped\x1b[90m (22)\x1b[39m\n";
    const { text } = summarise(nxOutput(plain));
    expect(text).toContain("a: 3 tests that its output does not name");
    expect(text.endsWith("\n19 passed, 0 failed, 3 skipped\n")).toBe(true);
  });
});
