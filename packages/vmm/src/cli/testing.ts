/** What the tests of the command share: processes with a hard time limit, in a folder of their own, and small guests. */
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { embeddedGuestPath } from "@tools-kvm/firmware";
import { buildElf, multibootHeader } from "../boot/testing.js";
import type { ExitRow } from "../control/actions.js";

export const hasKvm = (() => {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
})();

export const NEEDS_KVM = hasKvm ? "" : " (needs /dev/kvm)";

const VMM = fileURLToPath(new URL("../../bin/vmm.js", import.meta.url));
/** Nothing here takes longer than a second or two; what takes this long hangs. */
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

/** A `vmm` process. */
export class Process {
  readonly child: ChildProcess;
  readonly ended: Promise<Outcome>;
  #stdout = "";
  #stderr = "";
  #onOutput: () => void = () => {};
  #hasEnded = false;

  constructor(args: readonly string[], { env, input, keepsInput, stdio, by = [], unread }: Launch) {
    const [command, ...rest] = [...by, process.execPath, VMM, ...args] as [string, ...string[]];
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

/** A folder for a test file: sockets of its machines, files for its guests. */
export class Scratch {
  readonly folder = mkdtempSync(join(tmpdir(), "vmm-test-"));
  readonly sockets = join(this.folder, "tools-kvm");
  readonly #processes: Process[] = [];

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

  /** Starts `vmm ARGS` and does not wait. */
  start(args: readonly string[], launch: Launch = {}): Process {
    const started = new Process(args, { env: this.env(), ...launch });
    this.#processes.push(started);
    return started;
  }

  /** `vmm ARGS` from start to end. */
  vmm(args: readonly string[], launch: Launch = {}): Promise<Outcome> {
    return this.start(args, launch).ended;
  }

  /** A machine with the embedded guest at its prompt. */
  async machine(name: string, args: readonly string[] = [], launch: Launch = { keepsInput: true }): Promise<Process> {
    const machine = this.start(["run", "--name", name, "--append", "quiet", ...args], launch);
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
}

/** `run=` for the embedded guest, without its banner. */
export const commands = (...list: string[]): string => `quiet run=${list.join("; ")}`;

/** The events of `vmm run --json`. Throws when a line is not JSON. */
export function events(stdout: string): Record<string, unknown>[] {
  expectEndsWithNewline(stdout);
  return stdout
    .slice(0, -1)
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

function expectEndsWithNewline(text: string): void {
  if (!text.endsWith("\n")) throw new Error(`the last line has no end: ${text.slice(-200)}`);
}

/** How many exits of a kind the ledger has, by the last event. */
export function exitCount(stdout: string, wanted: Partial<ExitRow>): number {
  const rows = events(stdout).at(-1)?.exits as ExitRow[];
  const matching = rows.filter((row) =>
    Object.entries(wanted).every(([key, value]) => row[key as keyof ExitRow] === value),
  );
  return matching.reduce((sum, { count }) => sum + count, 0);
}

/** The embedded guest, booted by one protocol alone. */
export function guestBy(protocol: "multiboot" | "PVH"): Uint8Array {
  const bytes = readFileSync(embeddedGuestPath());
  if (protocol === "PVH") {
    bytes.writeUInt32LE(0, bytes.indexOf(Buffer.from([0x02, 0xb0, 0xad, 0x1b])));
  } else {
    // The note's header: 4 bytes of name, 4 of address, type 18.
    const note = bytes.indexOf(Buffer.from([4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0]));
    bytes.writeUInt32LE(0, note + 8);
  }
  return bytes;
}

const LOAD_ADDRESS = 2 ** 20;

/** A multiboot kernel of a few bytes of 32-bit code. */
export function codeGuest(code: readonly number[]): Uint8Array {
  const bytes = Uint8Array.from([...multibootHeader(0), ...code]);
  return buildElf({ entry: LOAD_ADDRESS + 12, segments: [{ gpa: LOAD_ADDRESS, bytes }] });
}

/** mov dx, 0x604; mov ax, 0x2000; out dx, ax: power off. */
export const POWER_OFF = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef, 0xf4];

/** Sends `blocks` times 16 bytes to the serial port, waiting for its transmitter before each, and powers off. */
export function floodGuest(blocks: number): Uint8Array {
  const u32 = [0, 8, 16, 24].map((shift) => (blocks >>> shift) & 0xff);
  return codeGuest([
    ...[0xbb, ...u32], // mov ebx, blocks
    ...[0x66, 0xba, 0xfa, 0x03, 0xb0, 0x01, 0xee], // mov dx, 0x3fa; mov al, 1; out dx, al: FIFOs on
    ...[0x66, 0xba, 0xfd, 0x03], // 1: mov dx, 0x3fd
    ...[0xec, 0xa8, 0x20, 0x74, 0xfb], // 2: in al, dx; test al, 0x20; jz 2b
    ...[0x66, 0xba, 0xf8, 0x03], // mov dx, 0x3f8
    ...[0xbe, 0x46, 0x00, 0x10, 0x00], // mov esi, text
    ...[0xb9, 0x10, 0x00, 0x00, 0x00], // mov ecx, 16
    ...[0xf3, 0x6e], // rep outsb
    ...[0x4b, 0x75, 0xe4], // dec ebx; jnz 1b
    ...POWER_OFF,
    ...new Array(70 - 12 - 51).fill(0x90),
    ...Buffer.from(FLOOD_TEXT),
  ]);
}

/** What the flood consists of. */
export const FLOOD_TEXT = "0123456789abcde\n";
