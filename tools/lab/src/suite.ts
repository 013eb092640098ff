/** Runs the suite's entries, one lab each, and says of each by name whether it passed, failed or was skipped, and why. */
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { countsLine, parseCountsLine, parseSkippedLine, skippedLine } from "../../setup/report-lines.mjs";
import { SUITE, type SuiteEntry } from "../suite/entries.js";
import { LabError } from "./errors.js";
import { type LabOptions, type LabResult, runInLab } from "./lab.js";
import { findProgram } from "./programs.js";

const CHECKOUT = fileURLToPath(new URL("../../../", import.meta.url));
const EXIT_SKIPPED = 77;
/** Most entries have one CPU, and a host that runs tests has two or more; with more than two, one is left to the rest. */
const LABS_AT_ONCE = Math.min(3, Math.max(2, availableParallelism() - 1));

export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

export interface SuiteOutcome {
  counts: Counts;
  /** True when the suite was interrupted. */
  interrupted: boolean;
}

export interface SuiteReporter {
  line: (text: string) => void;
  /** Called before an entry starts; returns what to call after it. */
  progress: (label: string) => () => void;
}

/** How an entry is run; a test gives another way than the lab. */
export type RunEntry = (entry: SuiteEntry, options: LabOptions) => Promise<LabResult>;

/**
 * @param names Only entries whose name contains one of these; all when empty.
 * @throws LabError when a name fits no entry.
 */
export async function runSuite(
  names: readonly string[],
  options: Omit<LabOptions, "command">,
  reporter: SuiteReporter,
  { entries = SUITE, run = runEntry }: { entries?: readonly SuiteEntry[]; run?: RunEntry } = {},
): Promise<SuiteOutcome> {
  const chosen = chooseEntries(names, entries);
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  let interrupted = false;
  const waiting = [...chosen];
  const runNext = async (): Promise<void> => {
    for (let entry = waiting.shift(); entry !== undefined && !interrupted; entry = waiting.shift()) {
      const reason = whyNot(entry);
      if (reason !== undefined) {
        counts.skipped++;
        reporter.line(skippedLine({ test: entry.name, reason }));
        continue;
      }
      const outcome = await judge(entry, options, reporter, run);
      add(counts, outcome.counts);
      interrupted ||= outcome.interrupted;
    }
  };
  await Promise.all(Array.from({ length: LABS_AT_ONCE }, runNext));
  reporter.line(countsLine(counts));
  return { counts, interrupted };
}

function chooseEntries(names: readonly string[], entries: readonly SuiteEntry[]): readonly SuiteEntry[] {
  for (const name of names) {
    if (!entries.some((entry) => entry.name.includes(name))) {
      throw new LabError(
        `--suite ${name} is part of no entry's name`,
        entries.map((entry) => `"${entry.name}"`).join(", "),
      );
    }
  }
  return names.length === 0 ? entries : entries.filter((entry) => names.some((name) => entry.name.includes(name)));
}

function whyNot(entry: SuiteEntry): string | undefined {
  const missing = [
    ...(entry.needsFiles ?? []).filter((path) => !existsSync(join(CHECKOUT, path))),
    ...(entry.needsPrograms ?? []).filter((name) => findProgram(name) === undefined),
  ];
  return missing.length === 0 ? undefined : `needs ${missing.join(", ")}`;
}

function runEntry(entry: SuiteEntry, options: LabOptions): Promise<LabResult> {
  return runInLab({
    ...options,
    command: entry.command,
    cwd: join(CHECKOUT, entry.cwd ?? ""),
    timeoutMs: entry.timeoutMs,
    cpus: options.cpus ?? entry.cpus,
    memoryMiB: options.memoryMiB ?? entry.memoryMiB,
  });
}

async function judge(
  entry: SuiteEntry,
  options: Omit<LabOptions, "command">,
  reporter: SuiteReporter,
  run: RunEntry,
): Promise<SuiteOutcome> {
  const startedMs = Date.now();
  const done = reporter.progress(`lab: ${entry.name}`);
  let result: LabResult;
  try {
    result = await run(entry, { ...options, command: entry.command });
  } catch (error) {
    if (!(error instanceof LabError)) throw error;
    // No QEMU, no kernel: nothing about the entry has been found out.
    reporter.line(skippedLine({ test: entry.name, reason: error.message }));
    return { counts: { passed: 0, failed: 0, skipped: 1 }, interrupted: false };
  } finally {
    done();
  }
  const seconds = Math.round((Date.now() - startedMs) / 1000);
  return report(entry, result, seconds, reporter);
}

function report(entry: SuiteEntry, result: LabResult, seconds: number, reporter: SuiteReporter): SuiteOutcome {
  const output = result.stdout.toString() + result.stderr.toString();
  const lines = output.split("\n");
  const own = lines.map((line) => parseCountsLine(line)).find((counts) => counts !== undefined);
  const verdict = verdictOf(result, own);
  // An entry that counts its tests is as many as they are; its own end counts only when they do not explain it.
  const counts = own ?? { passed: 0, failed: 0, skipped: 0 };
  if (verdict === "failed" && counts.failed === 0) counts.failed = 1;
  if (own === undefined && verdict === "passed") counts.passed = 1;
  if (own === undefined && verdict === "skipped") counts.skipped = 1;

  for (const line of lines) {
    const skipped = parseSkippedLine(line);
    if (skipped !== undefined)
      reporter.line(skippedLine({ test: `${entry.name}: ${skipped.test}`, reason: skipped.reason }));
  }
  if (verdict === "skipped" && own === undefined) {
    reporter.line(skippedLine({ test: entry.name, reason: lastLine(lines) ?? "gave no reason" }));
  }
  if (verdict === "failed") {
    reporter.line(output.trimEnd());
    for (const line of result.outcome === "exited" ? result.complaints : result.consoleTail)
      reporter.line(`  console: ${line}`);
  }
  const how = result.outcome === "exited" ? "" : `, ${result.outcome}`;
  reporter.line(
    `${verdict === "failed" ? "FAILED" : "ok    "}  in the lab: ${entry.name}: ${verdict}${how} (${seconds} s)`,
  );
  return { counts, interrupted: result.outcome === "interrupted" };
}

function verdictOf(result: LabResult, own: Counts | undefined): "passed" | "failed" | "skipped" {
  if (result.outcome === "exited" && result.exitCode === EXIT_SKIPPED) return "skipped";
  return result.exitCode === 0 && (own?.failed ?? 0) === 0 ? "passed" : "failed";
}

function lastLine(lines: readonly string[]): string | undefined {
  return lines.findLast((line) => line.trim() !== "");
}

function add(total: Counts, more: Counts): void {
  total.passed += more.passed;
  total.failed += more.failed;
  total.skipped += more.skipped;
}
