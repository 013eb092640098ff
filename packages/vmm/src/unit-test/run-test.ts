/** One test in a process of its own: `vmm run` with the image, until it ends or its time is up. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DEFAULT_MEMORY_BYTES, parseSize } from "../machine/spec.js";
import type { TestPlan } from "./plan.js";
import { judge, type MachineEnding, type TestResult } from "./result.js";

/** A process that does not listen to SIGTERM is not waited for longer than this. */
const TERMINATE_MS = 3_000;
/** What is kept of a guest that prints without end. */
const OUTPUT_BYTES = 1024 * 1024;

export interface RunContext {
  readonly timeoutMs: number;
  /** Ends the test early; it then fails as interrupted. */
  readonly signal: AbortSignal;
}

export async function runTest(plan: TestPlan, { timeoutMs, signal }: RunContext): Promise<TestResult> {
  const startedMs = Date.now();
  const folder = mkdtempSync(join(tmpdir(), "vmm-unit-test-"));
  try {
    writeFileSync(join(folder, "env"), environment(plan));
    const limitMs = plan.timeoutS === undefined ? timeoutMs : plan.timeoutS * 1000;
    const outcome = await runMachine(argumentsFor(plan, folder), limitMs, signal);
    const output = readTail(join(folder, "serial"));
    const { verdict, reason } =
      outcome.ending === undefined ? { verdict: "fail" as const, reason: outcome.why } : judge(outcome.ending);
    return { name: plan.name, verdict, reason, durationMs: Date.now() - startedMs, output };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What kvm-unit-tests' library looks up at its start; it comes as the first module. */
function environment({ cpus, memory }: TestPlan): string {
  const bytes = memory === undefined ? DEFAULT_MEMORY_BYTES : parseSize(memory)!;
  const megabytes = bytes / 2 ** 20;
  return `NR_CPUS=${cpus}\nMEMSIZE=${megabytes}\nMEMLIMIT=${megabytes}\nTEST_DEVICE=1\nBOOTLOADER=1\n`;
}

function argumentsFor({ file, cpus, memory, commandLine, irqchip }: TestPlan, folder: string): string[] {
  return [
    ...["run", "--json", "--no-reboot", "--kernel", file, "--initrd", join(folder, "env")],
    ...["--cpus", String(cpus), "--irqchip", irqchip, "--append", commandLine],
    ...["--serial", `file:${join(folder, "serial")}`],
    ...(memory === undefined ? [] : ["--memory", memory]),
  ];
}

interface Outcome {
  readonly ending: MachineEnding | undefined;
  readonly why: string;
}

function runMachine(args: readonly string[], limitMs: number, signal: AbortSignal): Promise<Outcome> {
  const child = spawn(process.execPath, [process.argv[1]!, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const events = collect(child.stdout!);
  const errors = collect(child.stderr!);
  let cut = "";
  const end = (why: string): void => {
    if (cut !== "") return;
    cut = why;
    terminate(child);
  };
  const timer = setTimeout(() => end(`timeout: it had ${limitMs / 1000} s`), limitMs);
  const interrupt = (): void => end("interrupted");
  signal.addEventListener("abort", interrupt);
  if (signal.aborted) interrupt();
  return new Promise((resolve) => {
    const done = (why: string): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", interrupt);
      resolve(cut === "" ? { ending: lastEvent(events()), why } : { ending: undefined, why: cut });
    };
    child.once("error", (error) => done(error.message));
    child.once("close", (status, killed) => {
      const said = errors().trim().split("\n")[0];
      done(said || (killed === null ? `vmm ended with ${status}` : `vmm was ended by ${killed}`));
    });
  });
}

function terminate(child: ChildProcess): void {
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), TERMINATE_MS);
  child.once("close", () => clearTimeout(timer));
}

function collect(stream: NodeJS.ReadableStream): () => string {
  let text = "";
  stream.setEncoding("utf8").on("data", (chunk: string) => {
    text = (text + chunk).slice(-OUTPUT_BYTES);
  });
  return () => text;
}

function lastEvent(text: string): MachineEnding | undefined {
  const line = text.trimEnd().split("\n").at(-1);
  if (!line) return undefined;
  const event = JSON.parse(line) as MachineEnding & { event: string };
  return event.event === "ended" ? event : undefined;
}

function readTail(path: string): string {
  try {
    return readFileSync(path, "latin1").slice(-OUTPUT_BYTES);
  } catch {
    return "";
  }
}
