/** A folder for a test file: its machines register there, and the files of its guests are there. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Launch, type Outcome, Process, VMM } from "./process.js";

export class Scratch {
  readonly folder = mkdtempSync(join(tmpdir(), "tools-kvm-test-"));
  readonly sockets = join(this.folder, "tools-kvm");
  readonly #program: string;
  readonly #processes: Process[] = [];

  /** `program` is what `start` starts. */
  constructor(program: string) {
    this.#program = program;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  file(name: string, content: string | Uint8Array): string {
    writeFileSync(this.path(name), content);
    return this.path(name);
  }

  env(more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
    return { ...process.env, XDG_RUNTIME_DIR: this.folder, ...more };
  }

  /** Starts the program and does not wait. */
  start(args: readonly string[], launch: Launch = {}): Process {
    return this.#start(this.#program, args, launch);
  }

  /** The program from start to end. */
  run(args: readonly string[], launch: Launch = {}): Promise<Outcome> {
    return this.start(args, launch).ended;
  }

  /** A machine with the embedded guest at its prompt. */
  async machine(name: string, args: readonly string[] = [], launch: Launch = { keepsInput: true }): Promise<Process> {
    const machine = this.#start(VMM, ["run", "--name", name, "--append", "quiet", ...args], launch);
    await machine.until("kvm> ");
    return machine;
  }

  /** Asks a machine over its socket, as `vmm` itself does. */
  async ask(name: string, action: string): Promise<unknown> {
    const socket = connect(join(this.sockets, `${name}.sock`));
    socket.end(`${JSON.stringify({ action })}\n`);
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    const reply = JSON.parse(Buffer.concat(chunks).toString("utf8")) as {
      ok: boolean;
      result?: unknown;
      error?: string;
    };
    if (!reply.ok) throw new Error(reply.error);
    return reply.result;
  }

  /** Ends what still runs. For afterAll. */
  async close(): Promise<void> {
    for (const { child } of this.#processes) child.kill("SIGKILL");
    await Promise.allSettled(this.#processes.map(({ ended }) => ended));
    rmSync(this.folder, { recursive: true, force: true });
  }

  #start(program: string, args: readonly string[], launch: Launch): Process {
    const started = new Process(program, args, { env: this.env(), ...launch });
    this.#processes.push(started);
    return started;
  }
}
