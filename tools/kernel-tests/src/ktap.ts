/** KTAP, the kernel's dialect of TAP (Documentation/dev-tools/ktap.rst): a subtest a theme, diagnostics in front of the line they explain. */
import type { Judged, Totals } from "./verdict.js";

const INDENT = "  ";
const VERSION = "KTAP version 1";

/** A description or reason: one line, and no `#`, which would begin a directive. */
function oneLine(text: string): string {
  return text.replaceAll("#", "").replace(/\s+/g, " ").trim();
}

function diagnostics(text: string): string[] {
  return text.split("\n").map((line) => `# ${line}`);
}

function testLines(judged: Judged, number: number): string[] {
  const { test, verdict, outcome, detail, reason, unexpectedPass } = judged;
  const line = (ok: boolean, directive = "") => `${ok ? "ok" : "not ok"} ${number} ${test.name}${directive}`;
  if (verdict === "skip") return [line(true, ` # SKIP ${oneLine(reason)}`)];
  if (verdict === "xfail") return [...diagnostics(detail), line(true, ` # XFAIL ${oneLine(reason)}`)];
  if (verdict === "pass")
    return [...(unexpectedPass ? [`# unexpected pass: ${test.id} was expected to fail: ${reason}`] : []), line(true)];
  const directive = outcome === "timeout" ? " # TIMEOUT" : outcome === "crashed" ? " # ERROR" : "";
  return [`# ${test.promise} (${test.source})`, ...diagnostics(detail), line(false, directive)];
}

export function ktapHead(themes: number): string {
  return `${VERSION}\n1..${themes}\n`;
}

export function ktapTheme(theme: string, number: number, tests: readonly Judged[]): string {
  const inner = [
    VERSION,
    `# Subtest: ${theme}`,
    `1..${tests.length}`,
    ...tests.flatMap((one, i) => testLines(one, i + 1)),
  ];
  const failed = tests.some(({ verdict }) => verdict === "fail");
  const skipped = tests.every(({ verdict }) => verdict === "skip") ? " # SKIP every test was" : "";
  return [...inner.map((line) => INDENT + line), `${failed ? "not ok" : "ok"} ${number} ${theme}${skipped}`, ""].join(
    "\n",
  );
}

/** The line that kselftest ends with. */
export function ktapTotals({ pass, fail, skip, xfail, unexpectedPasses }: Totals): string {
  return `# Totals: pass:${pass} fail:${fail} xfail:${xfail} xpass:${unexpectedPasses} skip:${skip} error:0\n`;
}
