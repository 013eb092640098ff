/** The programs that benches start. They are remembered, so that an interrupted bench leaves none of them behind. */
import { type ChildProcess, type ChildProcessByStdio, type StdioOptions, spawn } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { BenchError } from "./bench.js";

export interface RunOptions {
  readonly input?: Uint8Array;
  /** Exit codes that are a success; 0 alone when left out. */
  readonly exitCodes?: readonly number[];
}

/** A program between its start and its end, its input held open. */
export type Running = ChildProcessByStdio<Writable, Readable, Readable>;

/** A benchmark's guest ends by itself within seconds: one that does not never will. */
const TIMEOUT_MS = 60_000;
const KEPT_ERROR_CHARACTERS = 500;

export class Programs {
  /** Where our machines register while they are measured, apart from the user's own. */
  readonly folder = mkdtempSync(join(tmpdir(), "tools-kvm-bench-"));
  readonly #running = new Set<ChildProcess>();

  /** Starts a program; whoever starts one waits for its end, or ends it by `stop`. */
  start(command: readonly string[]): Running {
    const child = this.#spawn(command, ["pipe", "pipe", "pipe"]) as Running;
    // A program that ends before it has read its input is judged by its exit code.
    child.stdin.on("error", () => {});
    return child;
  }

  /** Starts a program with the terminal at `path` as its standard input, output and error. */
  startOn(path: string, command: readonly string[]): ChildProcess {
    const terminal = openSync(path, constants.O_RDWR | constants.O_NOCTTY);
    try {
      return this.#spawn(command, [terminal, terminal, terminal]);
    } finally {
      closeSync(terminal);
    }
  }

  #spawn([file, ...args]: readonly string[], stdio: StdioOptions): ChildProcess {
    const child = spawn(file!, args, { stdio, env: { ...process.env, XDG_RUNTIME_DIR: this.folder } });
    this.#running.add(child);
    child.once("close", () => this.#running.delete(child));
    return child;
  }

  /** Ends a program, and waits until it has. */
  async stop(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    await new Promise((resolve) => {
      child.once("exit", resolve);
      child.kill("SIGKILL");
    });
  }

  /** Runs a program to its end. Throws BenchError when it fails. */
  async run(command: readonly string[], options: RunOptions = {}): Promise<{ stdout: string; elapsedMs: number }> {
    const startedMs = performance.now();
    const child = this.start(command);
    const output = { stdout: "", stderr: "" };
    child.stdout.on("data", (text) => {
      output.stdout += text;
    });
    child.stderr.on("data", (text) => {
      output.stderr += text;
    });
    child.stdin.end(options.input);
    const timeout = setTimeout(() => child.kill("SIGKILL"), TIMEOUT_MS);
    let elapsedMs = 0;
    child.once("exit", () => {
      elapsedMs = performance.now() - startedMs;
    });
    const status = await new Promise<string | number>((resolve, reject) => {
      child.once("error", (error) => reject(new BenchError(`${command[0]}: ${error.message}`)));
      child.once("close", (code, signal) => resolve(code ?? signal ?? "nothing"));
    }).finally(() => clearTimeout(timeout));
    if (!(options.exitCodes ?? [0]).includes(status as number)) {
      const said = output.stderr.trim().slice(-KEPT_ERROR_CHARACTERS);
      throw new BenchError(`${command.join(" ")} ended with ${status}${said === "" ? "" : `: ${said}`}`);
    }
    return { stdout: output.stdout, elapsedMs };
  }

  /** Ends everything at once. For the way out, when nothing can be awaited any more. */
  close(): void {
    for (const child of this.#running) child.kill("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }
}
