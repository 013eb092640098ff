import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EXPECTED_FAILURES } from "./expected-failures.js";
import { ktapTheme } from "./ktap.js";
import { parseOptions, UsageError } from "./options.js";
import { allTests, type KernelTest } from "./registry.js";
import type { Outcome } from "./runner.js";
import { parseTrace } from "./tracing.js";
import { exitStatus, judge, totalsOf } from "./verdict.js";
import "./themes/index.js";

const [known, reason] = Object.entries(EXPECTED_FAILURES.pvm)[0]!;

function result(outcome: Outcome, id = "theme/name", detail = "") {
  const [theme, name] = id.split("/") as [string, string];
  const test: KernelTest = { theme, name, id, promise: "p", source: "s", body: () => {} };
  return { test, outcome, detail, timeMs: 1 };
}

describe("a verdict", () => {
  it("is a failure, unless the kind of KVM is known for it", () => {
    expect(judge(result("failed", known), "pvm")).toMatchObject({ verdict: "xfail", reason });
    expect(judge(result("timeout", known), "pvm")).toMatchObject({ verdict: "xfail" });
    expect(judge(result("failed", known), "unknown")).toMatchObject({ verdict: "fail" });
  });

  it("tells a pass that nobody expected", () => {
    const judged = judge(result("passed", known), "pvm");
    expect(judged).toMatchObject({ verdict: "pass", unexpectedPass: true });
    expect(ktapTheme("theme", 1, [judged])).toContain(`# unexpected pass: ${known} was expected to fail: ${reason}`);
    expect(totalsOf([judged])).toMatchObject({ pass: 1, unexpectedPasses: 1 });
  });

  it("makes the exit status: 1 with a failure, 4 with nothing but skips, else 0", () => {
    const status = (...outcomes: Outcome[]) =>
      exitStatus(totalsOf(outcomes.map((outcome) => judge(result(outcome), "svm"))));
    expect(status("passed", "skipped")).toBe(0);
    expect(status("passed", "crashed")).toBe(1);
    expect(status("skipped", "skipped")).toBe(4);
    expect(exitStatus(totalsOf([judge(result("failed", known), "pvm")]))).toBe(0);
  });
});

describe("the list of expected failures", () => {
  it("names tests that exist", () => {
    const ids = new Set(allTests().map(({ id }) => id));
    const unknown = Object.values(EXPECTED_FAILURES)
      .flatMap((list) => Object.keys(list))
      .filter((id) => !ids.has(id));
    expect(unknown).toEqual([]);
  });
});

describe("KTAP", () => {
  it("stays one line a test, whatever a test says", () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.constantFrom<Outcome>("failed", "skipped", "passed", "timeout"),
        (detail, outcome) => {
          const lines = ktapTheme("theme", 1, [judge(result(outcome, "theme/name", detail), "svm")])
            .trimEnd()
            .split("\n");
          const tests = lines.filter((line) => /^ *(not )?ok /.test(line));
          expect(tests).toHaveLength(2);
          for (const line of lines.slice(0, -1)) expect(line).toMatch(/^ {2}/);
        },
      ),
    );
  });
});

describe("words of the command line", () => {
  it("are understood or refused by a UsageError, never anything else", () => {
    const word = fc.oneof(
      fc.string(),
      fc.constantFrom("--filter", "--jobs", "--timeout", "--lab", "--kernel", "--json", "--list", "--break", "3", "("),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), (words) => {
        try {
          const { jobs, limitMs } = parseOptions(words);
          expect(jobs ?? 1).toBeGreaterThan(0);
          expect(limitMs ?? 1).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("a trace", () => {
  it("is read by its lines of one task", () => {
    const text = [
      "# tracer: nop",
      " qemu-system-x86-3530    [001] ..... 51144.437533: kvm_pio: pio_read at 0x3fd size 1 count 1 val 0x60 ",
      " node [main]-3531    [000] d..1. 51144.437548: kvm_pio: pio_write at 0x3f8 size 1 count 1 val 0x31 ",
      "CPU:1 [LOST 3 EVENTS]",
    ].join("\n");
    expect(parseTrace(text, 3531)).toEqual([{ name: "kvm_pio", text: "pio_write at 0x3f8 size 1 count 1 val 0x31" }]);
  });
});
