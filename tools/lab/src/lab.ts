/** One run of one command in the lab, from kernel file to exit status. */
import { randomBytes } from "node:crypto";
import { mkdirSync, statSync } from "node:fs";
import type { Socket } from "node:net";
import { dirname, resolve } from "node:path";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { prepareBootFiles } from "./boot-files.js";
import { EndMarkFilter } from "./end-mark.js";
import { LabError } from "./errors.js";
import { jobScript, type TerminalSize } from "./job.js";
import { chooseKernel, type LabKernel } from "./kernels.js";
import { findQemu, type Machine, startMachine } from "./qemu.js";

export const DEFAULT_CPUS = 2;
export const DEFAULT_MEMORY_MIB = 2048;
/** A start takes about three seconds; on a machine busy with other things, many times that. */
const BOOT_TIMEOUT_MS = 180_000;

export const EXIT_TIMEOUT = 124;
export const EXIT_CRASHED = 125;
export const EXIT_INTERRUPTED = 130;

const CONSOLE_TAIL_LINES = 80;
const CONSOLE_KEEP_CHARACTERS = 256 * 1024;

export interface LabOptions {
  /** Program and arguments; one word alone is a line for /bin/sh. */
  command: readonly string[];
  /** Where it runs; this process's directory unless told otherwise. */
  cwd?: string | undefined;
  /** Added to the few variables that are passed on anyway (PATH, HOME, TERM, LANG, ...). */
  env?: Readonly<Record<string, string>>;
  cpus?: number | undefined;
  memoryMiB?: number | undefined;
  /** A bzImage or a vmlinux; the newest fitting kernel of /boot unless told otherwise. */
  kernel?: string | undefined;
  /** Its modules: a directory with modules.dep, or an INSTALL_MOD_PATH; "none" when all is built in. */
  modules?: string | undefined;
  /** Added to the kernel's command line; `kvm_amd.npt=0` and the like reach the lab's modules too. */
  append?: string | undefined;
  /** A folder, made when missing, in which what the lab writes stays. */
  out?: string | undefined;
  /** How long the command may run, counted from its start. */
  timeoutMs?: number | undefined;
  /** Goes to the command; without it the command reads /dev/null. */
  stdin?: NodeJS.ReadableStream;
  /** Gives the command a terminal of this size: its output all comes as stdout. */
  terminal?: TerminalSize;
  /** Where its output goes; what goes nowhere is in the result. */
  stdout?: NodeJS.WritableStream;
  stderr?: NodeJS.WritableStream;
  onStdout?: (chunk: Buffer) => void;
  onStderr?: (chunk: Buffer) => void;
  /** The kernel console, as it comes. */
  onConsole?: (chunk: Buffer) => void;
  /** Called when the command starts. */
  onUp?: (bootMs: number, kernelVersion: string | undefined) => void;
  /** Ends the lab: the result is then "interrupted". */
  signal?: AbortSignal;
}

export interface LabResult {
  outcome: "exited" | "timeout" | "crashed" | "interrupted";
  /** The command's own when it exited; otherwise 124 (timeout), 125 (crashed), 130 (interrupted). */
  exitCode: number;
  /** What was written and not taken by a stream or a callback. */
  stdout: Buffer;
  stderr: Buffer;
  /** From QEMU's start to the command's; undefined when it never got there. */
  bootMs: number | undefined;
  kernelVersion: string | undefined;
  /** The last lines of the kernel console, and of QEMU when it complained. */
  consoleTail: string[];
  /** What the kernel printed since the command's start, when a bug report of its own is among it; otherwise empty. */
  complaints: string[];
}

/** A lab on its way. */
export interface Lab {
  result: Promise<LabResult>;
  /** Tells the command's terminal its new size. */
  resize: (size: TerminalSize) => void;
}

/**
 * Runs a command in the lab and gives its result.
 *
 * @throws LabError when the lab cannot be set up: no QEMU, no kernel, missing modules.
 * @example
 * const { exitCode, stdout } = await runInLab({ command: ["uname", "-r"] });
 */
export async function runInLab(options: LabOptions): Promise<LabResult> {
  return startLab(options).result;
}

/** Why this machine cannot run the lab, in one line; undefined when it can. For tests, which name it when they skip. */
export function whyNoLab(): string | undefined {
  try {
    findQemu();
    prepareBootFiles(chooseKernel({}));
    return undefined;
  } catch (error) {
    if (error instanceof LabError) return error.message;
    throw error;
  }
}

/** As runInLab, for a caller that has something to say to the lab while it runs. */
export function startLab(options: LabOptions): Lab {
  findQemu();
  const kernel = chooseKernel(options);
  const bootFiles = prepareBootFiles(kernel);
  const out = options.out === undefined ? undefined : prepareOut(options.out);
  const startedMs = performance.now();
  const machine = startMachine({
    ...bootFiles,
    cpus: options.cpus ?? DEFAULT_CPUS,
    memoryMiB: options.memoryMiB ?? DEFAULT_MEMORY_MIB,
    append: options.append ?? "",
    out,
  });
  return follow(machine, options, kernel, out, startedMs);
}

function follow(
  machine: Machine,
  options: LabOptions,
  kernel: LabKernel,
  out: string | undefined,
  startedMs: number,
): Lab {
  const { channels } = machine;
  const endMark = `lab-end-${randomBytes(16).toString("hex")}`;
  const stdout = receive(
    channels[options.terminal === undefined ? "stdout" : "terminal"],
    endMark,
    options.stdout,
    options.onStdout,
  );
  const stderr = receive(channels.stderr, endMark, options.stderr, options.onStderr);

  let consoleText = "";
  channels.console.on("data", (chunk: Buffer) => {
    consoleText = (consoleText + chunk.toString("latin1")).slice(-CONSOLE_KEEP_CHARACTERS);
    options.onConsole?.(chunk);
  });

  channels.job.end(jobScript(describeJob(options, kernel, out, endMark)));
  if (options.terminal !== undefined) options.stdin?.pipe(channels.terminal, { end: false });
  else options.stdin?.pipe(channels.stdin);

  let bootMs: number | undefined;
  let consoleBeforeUp = "";
  let exitCode: number | undefined;
  let reason: Exclude<LabResult["outcome"], "exited"> = "crashed";
  const end = () => machine.process.kill("SIGKILL");
  const giveUp = (why: typeof reason) => {
    reason = why;
    end();
  };

  let timer = setTimeout(() => giveUp("crashed"), BOOT_TIMEOUT_MS);
  const interrupt = () => giveUp("interrupted");
  options.signal?.addEventListener("abort", interrupt);
  if (options.signal?.aborted) interrupt();

  const endWhenComplete = () => {
    const complete = exitCode !== undefined && stdout.ended() && (options.terminal !== undefined || stderr.ended());
    if (complete) end();
  };
  stdout.onEnd(endWhenComplete);
  stderr.onEnd(endWhenComplete);

  onLine(channels.control, (line) => {
    const [word, value] = line.split(" ");
    if (word === "up") {
      bootMs = performance.now() - startedMs;
      consoleBeforeUp = consoleText;
      clearTimeout(timer);
      if (options.timeoutMs !== undefined) timer = setTimeout(() => giveUp("timeout"), options.timeoutMs);
      options.onUp?.(bootMs, kernel.version);
    } else if (word === "exit") {
      exitCode = Number(value);
      clearTimeout(timer);
      endWhenComplete();
    }
  });

  const result = new Promise<LabResult>((done) => {
    machine.process.on("error", () => giveUp("crashed"));
    machine.process.on("close", () => {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", interrupt);
      for (const channel of [channels.stdin, channels.terminal]) options.stdin?.unpipe(channel);
      const exited = exitCode !== undefined && stdout.ended();
      const code = { timeout: EXIT_TIMEOUT, crashed: EXIT_CRASHED, interrupted: EXIT_INTERRUPTED }[reason];
      done({
        outcome: exited ? "exited" : reason,
        exitCode: exited ? exitCode! : code,
        stdout: stdout.collected(),
        stderr: stderr.collected(),
        bootMs,
        kernelVersion: kernel.version,
        complaints: complaintsIn(
          consoleText.slice(consoleText.startsWith(consoleBeforeUp) ? consoleBeforeUp.length : 0),
        ),
        consoleTail: lastLines(`${consoleText}\n${machine.stderr()}`),
      });
    });
  });
  return { result, resize: ({ rows, columns }) => channels.control.write(`size ${rows} ${columns}\n`) };
}

function describeJob(options: LabOptions, kernel: LabKernel, out: string | undefined, endMark: string) {
  const cwd = resolve(options.cwd ?? process.cwd());
  const neededPaths = [
    cwd,
    CHECKOUT,
    process.execPath,
    ...(kernel.modulesDirectory === undefined ? [] : [kernel.modulesDirectory]),
  ];
  const modules =
    kernel.modulesDirectory === undefined || kernel.isHosts || kernel.version === undefined
      ? undefined
      : { directory: kernel.modulesDirectory, version: kernel.version };
  return {
    command: options.command,
    cwd,
    env: { ...inheritedEnvironment(), ...options.env },
    endMark,
    stdin: options.stdin !== undefined,
    terminal: options.terminal,
    out,
    modules,
    hideTmp: !neededPaths.some((path) => path.startsWith("/tmp/")),
  };
}

const CHECKOUT = fileURLToPath(new URL("../../../", import.meta.url));

const PASSED_ON = [
  "HOME",
  "USER",
  "LOGNAME",
  "SHELL",
  "TERM",
  "COLORTERM",
  "LANG",
  "LC_ALL",
  "TZ",
  "CI",
  "NO_COLOR",
  "FORCE_COLOR",
];

function inheritedEnvironment(): Record<string, string> {
  const passedOn = PASSED_ON.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]));
  const path = [
    dirname(process.execPath),
    process.env.PATH,
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  ];
  // Tells a program where it runs: tests that measure the host have no business here.
  return { ...Object.fromEntries(passedOn), PATH: path.filter(Boolean).join(":"), TOOLS_KVM_LAB: "1" };
}

function prepareOut(folder: string): string {
  const path = resolve(folder);
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw new LabError(`--out ${path} cannot be made`, (error as NodeJS.ErrnoException).code);
  }
  if (!statSync(path).isDirectory()) throw new LabError(`--out ${path} is not a folder`);
  return path;
}

interface Receiver {
  ended: () => boolean;
  onEnd: (listener: () => void) => void;
  collected: () => Buffer;
}

/** Hands a stream on without its end mark: to a writable at the pace it takes, to a callback, or into memory. */
function receive(
  socket: Socket,
  endMark: string,
  writable: NodeJS.WritableStream | undefined,
  callback: ((chunk: Buffer) => void) | undefined,
): Receiver {
  const filter = new EndMarkFilter(Buffer.from(endMark));
  const kept: Buffer[] = [];
  let endListener = () => {};
  const deliver = (chunk: Buffer) => {
    if (chunk.length === 0) return;
    callback?.(chunk);
    if (writable !== undefined) {
      if (!writable.write(chunk)) {
        socket.pause();
        writable.once("drain", () => socket.resume());
      }
    } else if (callback === undefined) {
      kept.push(chunk);
    }
  };
  socket.on("data", (chunk: Buffer) => {
    deliver(filter.push(chunk));
    if (filter.ended) endListener();
  });
  socket.on("close", () => deliver(filter.flush()));
  return {
    ended: () => filter.ended,
    onEnd: (listener) => {
      endListener = listener;
    },
    collected: () => Buffer.concat(kept),
  };
}

function onLine(socket: Socket, listener: (line: string) => void): void {
  let unfinished = "";
  socket.on("data", (chunk: Buffer) => {
    const lines = (unfinished + chunk.toString()).split("\n");
    unfinished = lines.pop()!;
    for (const line of lines) listener(line);
  });
}

/** How the kernel's own checks begin their reports. */
const COMPLAINT =
  /\b(BUG|WARNING|KASAN|UBSAN|Oops|INFO: (task|rcu)|general protection fault|Kernel panic|Call Trace)\b/;

function complaintsIn(text: string): string[] {
  return COMPLAINT.test(text) ? lastLines(text) : [];
}

function lastLines(text: string): string[] {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  return lines.slice(-CONSOLE_TAIL_LINES);
}
