/** The `kernel-tests` command. */
import { accessSync, constants } from "node:fs";
import { availableParallelism, release } from "node:os";
import { type KvmKind, kvmKind } from "./kind.js";
import { ktapHead, ktapTheme, ktapTotals } from "./ktap.js";
import { runAgainInLab } from "./lab.js";
import { writeLastResult } from "./last-result.js";
import { MUTATIONS } from "./mutations.js";
import { HELP, type Options, parseOptions, UsageError } from "./options.js";
import { allTests, type KernelTest } from "./registry.js";
import { runTests } from "./runner.js";
import "./themes/index.js";
import { EXIT_PASSED, EXIT_USAGE, exitStatus, type Judged, judge, totalsOf } from "./verdict.js";

const HOST_LIMIT_MS = 5000;
/** Everything is ten to twenty times slower in the lab. */
const LAB_LIMIT_MS = 20_000;
const EXIT_INTERRUPTED = 130;
const inLab = process.env.TOOLS_KVM_LAB === "1";

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(argv);
  if (options.mode === "help") return say(HELP);
  if (options.mode === "mutations")
    return say(
      Object.entries(MUTATIONS)
        .map(([name, { what }]) => `${name}: ${what}\n`)
        .join(""),
    );
  if (options.mutation !== "" && MUTATIONS[options.mutation] === undefined)
    throw new UsageError(`--break: there is no ${options.mutation}; --break list names them`);
  const tests = allTests().filter(({ id }) => options.filter.test(id));
  if (tests.length === 0) throw new UsageError("--filter: no test matches");
  if (options.mode === "list") return list(tests, options.json);

  const abort = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => abort.abort());
  process.stdout.on("error", () => abort.abort());
  if (options.lab) return runAgainInLab(options, abort.signal);
  return run(tests, options, abort.signal);
}

function say(text: string): number {
  process.stdout.write(text);
  return EXIT_PASSED;
}

function list(tests: readonly KernelTest[], json: boolean): number {
  if (json)
    return say(
      `${JSON.stringify(tests.map(({ theme, name, promise, source }) => ({ theme, name, promise, source })))}\n`,
    );
  return say(tests.map(({ id, promise, source }) => `${id}\n    ${promise} (${source})\n`).join(""));
}

async function run(tests: readonly KernelTest[], options: Options, signal: AbortSignal): Promise<number> {
  requireKvm();
  const kind = kvmKind();
  const { json, mutation } = options;
  let themesEnded = 0;
  if (!json) say(ktapHead(new Set(tests.map(({ theme }) => theme)).size));
  const results = await runTests(tests, {
    mutation,
    signal,
    jobs: options.jobs ?? Math.max(2, availableParallelism() >> 1),
    limitMs: options.limitMs ?? (inLab ? LAB_LIMIT_MS : HOST_LIMIT_MS),
    onTheme: (theme, own) => {
      if (!json)
        say(
          ktapTheme(
            theme,
            ++themesEnded,
            own.map((result) => judge(result, kind)),
          ),
        );
    },
  });
  const judged = results.map((result) => judge(result, kind));
  const totals = totalsOf(judged);
  say(
    json ? `${JSON.stringify({ kind, kernel: release(), totals, tests: judged.map(asJson) })}\n` : ktapTotals(totals),
  );
  if (signal.aborted) return EXIT_INTERRUPTED;
  const whole = tests.length === allTests().length && mutation === "";
  if (whole) keepResult(judged, kind);
  return exitStatus(totals);
}

function keepResult(judged: readonly Judged[], kind: KvmKind): void {
  try {
    writeLastResult(judged, kind);
  } catch (error) {
    process.stderr.write(`kernel-tests: the result is not kept for vmm doctor: ${(error as Error).message}\n`);
  }
}

function requireKvm(): void {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    throw new UsageError("/dev/kvm cannot be opened: --lab runs the tests on an emulated processor with KVM");
  }
}

function asJson({ test, verdict, outcome, detail, reason, unexpectedPass, timeMs }: Judged): object {
  const { theme, name, promise, source } = test;
  return { theme, name, promise, source, verdict, outcome, detail, reason, unexpectedPass, timeMs };
}

main(process.argv.slice(2))
  .catch((error: unknown) => {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`kernel-tests: ${error.message}\n`);
    return EXIT_USAGE;
  })
  .then((status) => process.stdout.write("", () => process.exit(status)));
