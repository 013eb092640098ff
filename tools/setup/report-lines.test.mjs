import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { countsLine, parseCountsLine, parseSkippedLine, skippedLine } from "./report-lines.mjs";
import { skipReason } from "./vitest-reporter.mjs";

describe("the lines of a test run", () => {
  it("come back as they were said, for any name on one line and any numbers", () => {
    const word = fc.string({ minLength: 1 }).map((text) => text.replace(/\s+/g, " ").trim());
    const reason = word.map((text) => text.replace(/[[\]]/g, "")).map((text) => text.trim());
    fc.assert(
      fc.property(word, reason, fc.nat(), fc.nat(), fc.nat(), (test, why, passed, failed, skipped) => {
        expect(parseSkippedLine(skippedLine({ test, reason: why }))).toEqual({ test, reason: why });
        expect(parseCountsLine(countsLine({ passed, failed, skipped }))).toEqual({ passed, failed, skipped });
      }),
    );
  });

  it("are always one line, and never taken for each other", () => {
    expect(skippedLine({ test: "a\nb", reason: "x]\ny" })).toBe("tools-kvm skipped: a b [x) y]");
    expect(parseCountsLine("tools-kvm skipped: a [b]")).toBeUndefined();
    expect(parseSkippedLine(countsLine({ passed: 1, failed: 0, skipped: 0 }))).toBeUndefined();
  });
});

describe("the reason of a skipped test", () => {
  it("is what the test said, or what its title says it needs", () => {
    expect(skipReason("a VM (needs /dev/kvm) > runs", "skip", "needs a tap")).toBe("needs a tap");
    expect(skipReason("a VM (needs /dev/kvm) > runs", "skip", undefined)).toBe("needs /dev/kvm");
    expect(skipReason("a VM (skipped: no /dev/kvm) > runs", "skip", undefined)).toBe("no /dev/kvm");
    expect(skipReason("a VM > runs", "todo", undefined)).toBe("to do");
    expect(skipReason("a VM > runs", "skip", undefined)).toBe("gave no reason");
  });
});
