/** What came of a test: kvm-unit-tests' exit statuses, and KTAP (Linux, Documentation/dev-tools/ktap.rst). */

/** The debug exit leaves 2n + 1 of what a test wrote; the library of kvm-unit-tests writes these. */
export const STATUS = { PASS: 1, FAIL: 3, SKIP: 77, ABORT: 127 } as const;

export type Verdict = "pass" | "fail" | "skip";

export interface TestResult {
  readonly name: string;
  readonly verdict: Verdict;
  /** Why it was skipped, or failed; empty for a pass. */
  readonly reason: string;
  readonly durationMs: number;
  /** What the guest printed. */
  readonly output: string;
}

/** How a machine ended, as `vmm run --json` says it. */
export interface MachineEnding {
  readonly why: string;
  readonly status: number;
  readonly message?: string;
}

export function judge({ why, status, message }: MachineEnding): { verdict: Verdict; reason: string } {
  if (why !== "exit") return { verdict: "fail", reason: `the machine ended by ${why}${message ? `: ${message}` : ""}` };
  switch (status) {
    case STATUS.PASS:
      return { verdict: "pass", reason: "" };
    case STATUS.SKIP:
      return { verdict: "skip", reason: "the test skipped itself" };
    case STATUS.FAIL:
      return { verdict: "fail", reason: "the test reported failures" };
    case STATUS.ABORT:
      return { verdict: "fail", reason: "the test called abort()" };
    default:
      return { verdict: "fail", reason: `status ${status}` };
  }
}

/** Lines of a failed test that are shown. */
const SHOWN_LINES = 40;

export function ktapHeader(count: number): string {
  return `KTAP version 1\n1..${count}\n`;
}

/** The result line, after the last lines of a failed test's output. */
export function ktapLine(index: number, { name, verdict, reason, output }: TestResult): string {
  const label = `${index + 1} ${name.replaceAll(/[#\n]/g, "_")}`;
  switch (verdict) {
    case "pass":
      return `ok ${label}\n`;
    case "skip":
      return `ok ${label} # SKIP ${oneLine(reason)}\n`;
    case "fail": {
      const lines = output.trimEnd().split("\n").slice(-SHOWN_LINES);
      const shown = lines.filter((line) => line !== "").map((line) => `# ${line.trimEnd()}\n`);
      return `${shown.join("")}not ok ${label} ${oneLine(reason)}\n`;
    }
  }
}

export function ktapTotals(results: readonly TestResult[]): string {
  const count = (verdict: Verdict) => results.filter((result) => result.verdict === verdict).length;
  return `# Totals: pass:${count("pass")} fail:${count("fail")} xfail:0 xpass:0 skip:${count("skip")} error:0\n`;
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ").trim();
}
