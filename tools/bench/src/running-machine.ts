/** A machine of the embedded guest at its prompt, which does what it is told and says when it is done. */

import { BenchError } from "./bench.js";
import { VMM } from "./commands.js";
import type { Programs, Running } from "./programs.js";

const PROMPT = "kvm> ";
const TIMEOUT_MS = 60_000;
let made = 0;

export class RunningMachine {
  readonly name: string;
  readonly #programs: Programs;
  readonly #child: Running;
  #output = "";
  #onOutput: () => void = () => {};

  private constructor(programs: Programs, options: readonly string[]) {
    this.name = `bench-${++made}`;
    this.#programs = programs;
    const machine = ["run", "--memory", "16M", "--name", this.name, ...options];
    this.#child = programs.start([process.execPath, VMM, ...machine]);
    this.#child.stdout.on("data", (text) => {
      this.#output += text;
      this.#onOutput();
    });
    this.#child.once("close", () => this.#onOutput());
  }

  /** Resolves when the guest is at its prompt. */
  static async start(programs: Programs, options: readonly string[] = []): Promise<RunningMachine> {
    const machine = new RunningMachine(programs, options);
    await machine.#prompt();
    return machine;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Has the guest do something. Returns what it has said when it is back at its prompt. */
  async command(line: string): Promise<string> {
    this.#output = "";
    this.#child.stdin.write(`${line}\r`);
    return this.#prompt();
  }

  async #prompt(): Promise<string> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve, reject) => {
      const fail = (): void => reject(new BenchError(`${this.name} does not answer: ${this.#output}`));
      timer = setTimeout(fail, TIMEOUT_MS);
      this.#onOutput = () => {
        if (this.#output.includes(PROMPT)) resolve();
        else if (this.#child.exitCode !== null) fail();
      };
      this.#onOutput();
    }).finally(() => clearTimeout(timer));
    this.#onOutput = () => {};
    return this.#output;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#programs.stop(this.#child);
  }
}
