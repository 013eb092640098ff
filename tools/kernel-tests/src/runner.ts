/**
 * Runs tests in processes of their own, a few themes in each, several at once. A test that hangs is ended with its process, one that
 * crashes has ended it already; either way the tests behind it go on in a new one.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { KernelTest } from "./registry.js";
import type { Report } from "./theme-process.js";

export type Outcome = "passed" | "failed" | "skipped" | "timeout" | "crashed";

export interface Result {
  readonly test: KernelTest;
  readonly outcome: Outcome;
  /** Why it was skipped, or what was wrong; lines. */
  readonly detail: string;
  readonly timeMs: number;
}

export interface RunOptions {
  /** How many processes at once. */
  readonly jobs: number;
  /** How long a test may take. */
  readonly limitMs: number;
  /** An answer of KVM that is spoiled on purpose (mutations.ts). */
  readonly mutation: string;
  readonly signal: AbortSignal;
  /** Called with the results of a theme when its last test has ended. */
  readonly onTheme: (theme: string, results: readonly Result[]) => void;
}

const PROGRAM = fileURLToPath(new URL("theme-process.js", import.meta.url));
/** A process needs this much before its first test, and most of it is Node's start. */
const START_SHARE = 2;
/** More make each job's share fairer, but each is another start of Node, which takes two seconds in the lab. */
const BATCHES_PER_JOB = 4;
const STDERR_KEPT_CHARS = 2000;

/** Results in the order of `tests`. Ends early, with fewer of them, when `signal` is aborted. */
export async function runTests(tests: readonly KernelTest[], options: RunOptions): Promise<Result[]> {
  const themes = [...new Set(tests.map(({ theme }) => theme))].map(
    (theme) => [theme, tests.filter((test) => test.theme === theme)] as const,
  );
  const results = new Map<string, Result[]>();
  const waiting = batches(themes, Math.ceil(themes.length / (options.jobs * BATCHES_PER_JOB)));
  const unreported = [...themes];
  // Reported in their order, however they ended.
  const reportEnded = (): void => {
    for (let own = results.get(unreported[0]?.[0] ?? ""); own !== undefined && !options.signal.aborted; ) {
      options.onTheme(unreported.shift()![0], own);
      own = results.get(unreported[0]?.[0] ?? "");
    }
  };
  const worker = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined && !options.signal.aborted; next = waiting.shift()) {
      const ended = await runBatch(
        next.flatMap(([, own]) => own),
        options,
      );
      for (const [theme] of next)
        results.set(
          theme,
          ended.filter(({ test }) => test.theme === theme),
        );
      reportEnded();
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, worker));
  return themes.flatMap(([theme]) => results.get(theme) ?? []);
}

function batches<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

async function runBatch(tests: readonly KernelTest[], options: RunOptions): Promise<Result[]> {
  const results: Result[] = [];
  while (results.length < tests.length && !options.signal.aborted) {
    results.push(...(await runProcess(tests.slice(results.length), options)));
  }
  return results;
}

/** Runs tests until the process ends: all of them, or up to and with the one that ended it. */
function runProcess(tests: readonly KernelTest[], { limitMs, mutation, signal }: RunOptions): Promise<Result[]> {
  const child = spawn(process.execPath, [PROGRAM, mutation, ...tests.map(({ id }) => id)], {
    stdio: ["ignore", "ignore", "pipe", "pipe"],
  });
  const results: Result[] = [];
  let begun = performance.now();
  let timedOut = false;
  let stderr = "";
  const end = (outcome: Outcome, detail: string, timeMs: number): void => {
    results.push({ test: tests[results.length]!, outcome, detail, timeMs });
  };
  const kill = (): void => void child.kill("SIGKILL");
  const onLimit = (): void => {
    timedOut = true;
    kill();
  };
  let timer = setTimeout(onLimit, limitMs * START_SHARE);
  const restartTimer = (): void => {
    clearTimeout(timer);
    timer = setTimeout(onLimit, limitMs);
    begun = performance.now();
  };
  signal.addEventListener("abort", kill, { once: true });
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-STDERR_KEPT_CHARS);
  });
  const reports = createInterface({ input: child.stdio[3] as Readable });
  reports.on("line", (line) => {
    const report = JSON.parse(line) as Report;
    restartTimer();
    if ("end" in report) end(report.outcome, report.detail, report.timeMs);
  });
  return ended(child).then(([code, killedBy]) => {
    clearTimeout(timer);
    signal.removeEventListener("abort", kill);
    if (results.length < tests.length && !signal.aborted) {
      const timeMs = Math.round(performance.now() - begun);
      if (timedOut) end("timeout", `did not end within ${limitMs / 1000} s`, timeMs);
      else end("crashed", `its process ended by ${killedBy ?? `status ${code}`}\n${stderr}`.trim(), timeMs);
    }
    return results;
  });
}

function ended(child: ChildProcess): Promise<[number | null, NodeJS.Signals | null]> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve([code, signal]));
  });
}
