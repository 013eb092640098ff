/** `vmm unit-test`: runs kvm-unit-tests images as their configuration asks, several at once, and reports in KTAP. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { Kvm } from "@tools-kvm/kvm-binding";
import { maxVcpus } from "../machine/virtual-machine.js";
import { ConfigError, parseConfig, type TestEntry } from "../unit-test/config.js";
import { type Planned, planTest, type TestHost } from "../unit-test/plan.js";
import { ktapHeader, ktapLine, ktapTotals, type TestResult } from "../unit-test/result.js";
import { runTest } from "../unit-test/run-test.js";
import { CliError, EXIT, whyNot } from "./errors.js";

export interface UnitTestOptions {
  readonly config?: string;
  readonly filter?: string;
  readonly group: readonly string[];
  readonly append?: string;
  readonly cpus?: string;
  readonly jobs: string;
  readonly timeout: string;
  readonly list?: boolean;
  readonly json?: boolean;
}

const EXIT_ALL_SKIPPED = 4;
const EXIT_INTERRUPTED = 130;
const CONFIG_NAME = "unittests.cfg";
const LONG_PARAMETER_BYTES = 64 * 1024;

export async function unitTest(paths: readonly string[], options: UnitTestOptions): Promise<number> {
  const host = describeHost(options);
  const planned = selected(
    paths.flatMap((path) => entriesOf(path, options)).map((entry) => planTest(entry, host)),
    options.filter,
  );
  if (planned.length === 0) throw new CliError("no test is left to run; --list shows what there is without --filter");
  if (options.list) return list(planned, options.json === true);
  return new Run(planned, options).toItsEnd();
}

function describeHost({ group }: UnitTestOptions): TestHost {
  return {
    maxSmp: availableParallelism(),
    maxCpus: maxCpus(),
    arch: "x86_64",
    groups: group,
    readFile: (path) => {
      try {
        return readFileSync(path, "latin1").slice(0, LONG_PARAMETER_BYTES);
      } catch {
        return undefined;
      }
    },
  };
}

function maxCpus(): number {
  using kvm = Kvm.open();
  return maxVcpus(kvm);
}

/** A folder's configuration, or one image as a test of its own. Files become absolute. */
function entriesOf(path: string, options: UnitTestOptions): TestEntry[] {
  if (!existsSync(path)) throw new CliError(`${path}: no such file or folder`);
  if (!statSync(path).isDirectory()) return [imageEntry(path, options)];
  const candidates =
    options.config === undefined ? [join(path, CONFIG_NAME), join(path, "x86", CONFIG_NAME)] : [options.config];
  const config = candidates.find(existsSync) ?? candidates[0]!;
  const folders = [path, join(path, "x86"), dirname(config)];
  return readConfig(config).map((entry) => ({ ...entry, file: findImage(entry.file, folders) }));
}

function imageEntry(path: string, { cpus = "1" }: UnitTestOptions): TestEntry {
  return {
    name: basename(path).replace(/\.(flat|elf)$/, ""),
    file: resolve(path),
    smp: cpus,
    qemuParams: "",
    groups: [],
    line: 0,
  };
}

function readConfig(path: string): TestEntry[] {
  try {
    return parseConfig(readFileSync(path, "utf8"));
  } catch (error) {
    if (error instanceof ConfigError) throw new CliError(`${path}:${error.line}: ${error.message}`);
    throw new CliError(`${path}: ${whyNot(error)}; --config names another list of tests`);
  }
}

function findImage(file: string, folders: readonly string[]): string {
  const places = folders.map((folder) => resolve(folder, file));
  return places.find(existsSync) ?? places[0]!;
}

function selected(planned: readonly (Planned | undefined)[], filter: string | undefined): Planned[] {
  const wanted = pattern(filter);
  return planned.filter((each) => each !== undefined).filter(({ name }) => wanted.test(name));
}

function pattern(filter = ""): RegExp {
  try {
    return new RegExp(filter);
  } catch {
    throw new CliError(`--filter ${filter}: not a regular expression`);
  }
}

function list(planned: readonly Planned[], json: boolean): number {
  const lines = planned.map((each) => ("skip" in each ? `${each.name} # SKIP ${each.skip}` : each.name));
  process.stdout.write(json ? `${JSON.stringify(planned)}\n` : `${lines.join("\n")}\n`);
  return EXIT.OK;
}

function positive(option: string, text: string): number {
  const number = Number(text);
  if (Number.isFinite(number) && number > 0) return number;
  throw new CliError(`${option} ${text}: a number above 0`);
}

class Run {
  readonly #planned: readonly Planned[];
  readonly #options: UnitTestOptions;
  readonly #timeoutMs: number;
  readonly #results: TestResult[] = [];
  readonly #stop = new AbortController();
  /** Results are printed in the order of the list, whichever is ready first. */
  #printed = 0;
  #next = 0;

  constructor(planned: readonly Planned[], options: UnitTestOptions) {
    this.#planned = planned;
    this.#options = options;
    this.#timeoutMs = 1000 * positive("--timeout", options.timeout);
  }

  async toItsEnd(): Promise<number> {
    const jobs = Math.ceil(positive("--jobs", this.#options.jobs));
    const interrupt = (): void => this.#stop.abort();
    process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
    if (!this.#options.json) process.stdout.write(ktapHeader(this.#planned.length));
    try {
      await Promise.all(Array.from({ length: Math.min(jobs, this.#planned.length) }, () => this.#work()));
    } finally {
      process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
    }
    const results = this.#results.filter((result) => result !== undefined);
    if (this.#options.json) process.stdout.write(`${JSON.stringify(results)}\n`);
    else process.stdout.write(ktapTotals(results));
    if (this.#stop.signal.aborted) return EXIT_INTERRUPTED;
    if (results.some(({ verdict }) => verdict === "fail")) return EXIT.FAILURE;
    return results.every(({ verdict }) => verdict === "skip") ? EXIT_ALL_SKIPPED : EXIT.OK;
  }

  async #work(): Promise<void> {
    while (this.#next < this.#planned.length && !this.#stop.signal.aborted) {
      const index = this.#next++;
      this.#results[index] = await this.#one(this.#planned[index]!);
      this.#print();
    }
  }

  async #one(planned: Planned): Promise<TestResult> {
    const { name } = planned;
    if ("skip" in planned) return { name, verdict: "skip", reason: planned.skip, durationMs: 0, output: "" };
    if (!existsSync(planned.file)) {
      return { name, verdict: "skip", reason: `${planned.file} is not there: not built?`, durationMs: 0, output: "" };
    }
    const plan = this.#options.append === undefined ? planned : { ...planned, commandLine: this.#options.append };
    return runTest(plan, { timeoutMs: this.#timeoutMs, signal: this.#stop.signal });
  }

  #print(): void {
    if (this.#options.json) return;
    for (let result = this.#results[this.#printed]; result !== undefined; result = this.#results[++this.#printed]) {
      process.stdout.write(ktapLine(this.#printed, result));
    }
  }
}
