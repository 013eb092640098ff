/** From what happened to what it means, with what is expected to fail. */

import { EXPECTED_FAILURES } from "./expected-failures.js";
import type { KvmKind } from "./kind.js";
import type { Result } from "./runner.js";

export type Verdict = "pass" | "fail" | "skip" | "xfail";

export interface Judged extends Result {
  readonly verdict: Verdict;
  /** Why a failure is expected; also of a test that passes although it should fail. */
  readonly reason: string;
  readonly unexpectedPass: boolean;
}

export function judge(result: Result, kind: KvmKind): Judged {
  const { outcome, test } = result;
  const reason = test.expectedFailure ?? EXPECTED_FAILURES[kind][test.id] ?? "";
  if (outcome === "passed") return { ...result, verdict: "pass", reason, unexpectedPass: reason !== "" };
  if (outcome === "skipped") return { ...result, verdict: "skip", reason: result.detail, unexpectedPass: false };
  return { ...result, verdict: reason === "" ? "fail" : "xfail", reason, unexpectedPass: false };
}

export type Totals = Record<Verdict, number> & { unexpectedPasses: number };

export function totalsOf(judged: readonly Judged[]): Totals {
  const totals: Totals = { pass: 0, fail: 0, skip: 0, xfail: 0, unexpectedPasses: 0 };
  for (const { verdict, unexpectedPass } of judged) {
    totals[verdict]++;
    if (unexpectedPass) totals.unexpectedPasses++;
  }
  return totals;
}

export const EXIT_PASSED = 0;
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
export const EXIT_ALL_SKIPPED = 4;

/** 0 with expected failures and skips too; 4, as kselftest has it, when nothing but skips. */
export function exitStatus(totals: Totals): number {
  if (totals.fail > 0) return EXIT_FAILED;
  return totals.pass + totals.xfail === 0 ? EXIT_ALL_SKIPPED : EXIT_PASSED;
}
