/** A command of this tree as a process, with a hard limit on its time. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const bin = (path: string): string => fileURLToPath(new URL(`../../../packages/${path}`, import.meta.url));

/** The commands, as they are installed. */
export const VMM = bin("vmm/bin/vmm.js");
export const PERF_KVM = bin("perf-kvm/bin/perf-kvm.js");

/** Nothing in a test takes longer than a second or two; what takes this long hangs. */
export const HANG_MS = 60_000;

export interface Outcome {
  /** Exit code; null when a signal ended the process. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Launch {
  readonly env?: NodeJS.ProcessEnv;
  /** Everything that comes on standard input; without it, there is none. */
  readonly input?: string;
  /** Standard input stays open for `type`. */
  readonly keepsInput?: boolean;
  /** Uses these descriptors for standard input, output and error. */
  readonly stdio?: [number, number, number];
  /** Run by this command: `["setpriv", "--reuid", "65534"]`. */
  readonly by?: readonly string[];
  /** Standard output is not read. */
  readonly unread?: boolean;
}

export class Process {
  readonly child: ChildProcess;
  readonly ended: Promise<Outcome>;
  #stdout = "";
  #stderr = "";
  #onOutput: () => void = () => {};
  #hasEnded = false;

  /** `program` is a script for Node. */
  constructor(program: string, args: readonly string[], { env, input, keepsInput, stdio, by = [], unread }: Launch) {
    const [command, ...rest] = [...by, process.execPath, program, ...args] as [string, ...string[]];
    this.child = spawn(command, rest, { env, stdio: stdio ?? ["pipe", "pipe", "pipe"] });
    const { child } = this;
    child.stdin?.on("error", () => {});
    if (input !== undefined) child.stdin?.write(input, "latin1");
    if (keepsInput !== true) child.stdin?.end();
    if (unread !== true) {
      child.stdout?.setEncoding("latin1").on("data", (text: string) => {
        this.#stdout += text;
        this.#onOutput();
      });
    }
    child.stderr?.setEncoding("latin1").on("data", (text: string) => {
      this.#stderr += text;
      this.#onOutput();
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), HANG_MS);
    this.ended = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (status, signal) => {
        clearTimeout(timer);
        this.#hasEnded = true;
        this.#onOutput();
        resolve({ status, signal, stdout: this.#stdout, stderr: this.#stderr });
      });
    });
  }

  get pid(): number {
    return this.child.pid!;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  type(text: string): void {
    this.child.stdin!.write(text, "latin1");
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Resolves when standard output, from `from` on, or standard error matches. Rejects when the process ends before. */
  async until(pattern: RegExp | string, from = 0): Promise<void> {
    const matches = (text: string): boolean =>
      typeof pattern === "string" ? text.includes(pattern) : pattern.test(text);
    await new Promise<void>((resolve, reject) => {
      this.#onOutput = () => {
        if (matches(this.#stdout.slice(from)) || matches(this.#stderr)) resolve();
        else if (this.#hasEnded) reject(new Error(`ended before ${pattern}:\n${this.#stdout}\n${this.#stderr}`));
      };
      this.#onOutput();
    });
    this.#onOutput = () => {};
  }
}
