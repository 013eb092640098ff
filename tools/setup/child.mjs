/** Runs other programs: quietly with a progress line, line by line, or in our place on the terminal. Ctrl-C ends them and then us. */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { Progress } from "./progress.mjs";

/** @typedef {{ status: number, output: string }} Outcome */

const KEEP_CHARACTERS = 1 << 20;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();
/** @type {NodeJS.Signals | undefined} */
let interruptedBy;

/**
 * From here on a signal goes to whatever program is running, and this process ends after it.
 * A terminal sends Ctrl-C to all of us by itself; a second one from here would only make npm hurry.
 */
export function passSignalsOn() {
  for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"])) {
    process.on(signal, () => {
      interruptedBy = signal;
      if (running.size === 0) process.exit(signalStatus(signal));
      const alreadyGot = signal === "SIGINT" && process.stdin.isTTY;
      if (!alreadyGot) for (const child of running) child.kill(signal);
    });
  }
}

/**
 * What a shell would say of a program that ended so.
 *
 * @param {number | null} code
 * @param {NodeJS.Signals | null} signal
 */
export function exitStatus(code, signal) {
  return code ?? (signal === null ? 1 : signalStatus(signal));
}

/** @param {NodeJS.Signals} signal */
function signalStatus(signal) {
  return 128 + constants.signals[signal];
}

/**
 * Runs a program without showing its output, which the caller prints when it failed.
 *
 * @param {string} label For the progress line.
 * @param {readonly string[]} command
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv }} [options]
 * @returns {Promise<Outcome>}
 */
export async function runQuietly(label, command, options = {}) {
  const progress = new Progress();
  progress.start(label);
  let output = "";
  const status = await ended(spawnPiped(command, options), (text) => {
    output = (output + text).slice(-KEEP_CHARACTERS);
  });
  progress.stop();
  return { status, output };
}

/**
 * Runs a program and hands on each line that it writes, of both streams.
 *
 * @param {readonly string[]} command
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, silenceLimitMs?: number }} options
 *   silenceLimitMs: ends the program when it has written nothing for so long; the outcome's `silent` says so.
 * @param {(line: string) => void} onLine
 * @returns {Promise<{ status: number, silent: boolean }>}
 */
export async function runByLine(command, { silenceLimitMs, ...options }, onLine) {
  let unfinished = "";
  let silent = false;
  const child = spawnPiped(command, options);
  const timer = setTimeout(() => {
    silent = true;
    endTree(child);
  }, silenceLimitMs ?? LONGEST_TIMER_MS);
  const status = await ended(child, (text) => {
    timer.refresh();
    const lines = (unfinished + text).split("\n");
    unfinished = lines.pop() ?? "";
    for (const line of lines) onLine(line);
  });
  clearTimeout(timer);
  if (unfinished !== "") onLine(unfinished);
  return { status, silent };
}

/**
 * Runs a program on our own terminal, streams and all.
 *
 * @param {readonly string[]} command
 * @param {{ cwd?: string }} [options]
 * @returns {Promise<number>}
 */
export function runHere(command, options = {}) {
  return ended(spawn(command[0], command.slice(1), { ...options, stdio: "inherit" }));
}

/**
 * @param {readonly string[]} command
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv }} options
 */
function spawnPiped(command, options) {
  return spawn(command[0], command.slice(1), { ...options, stdio: ["ignore", "pipe", "pipe"] });
}

/**
 * Waits for the program's end and gives what a shell would call its status.
 *
 * @param {import("node:child_process").ChildProcess} child
 * @param {(text: string) => void} [onText] Gets what it writes, of both streams.
 * @returns {Promise<number>}
 */
function ended(child, onText = () => {}) {
  running.add(child);
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding("utf8").on("data", onText);
  return new Promise((done) => {
    child.on("error", (error) => {
      running.delete(child);
      onText(`${error.message}\n`);
      done(127);
    });
    child.on("close", (code, signal) => {
      running.delete(child);
      if (interruptedBy !== undefined) process.exit(signalStatus(interruptedBy));
      done(exitStatus(code, signal));
    });
  });
}

/**
 * Ends a program and all that it started, down to a test that is stuck in the kernel and hears no polite signal.
 *
 * @param {import("node:child_process").ChildProcess} child
 */
function endTree(child) {
  const all = [child.pid ?? 0];
  for (const pid of all) all.push(...childrenOf(pid));
  for (const pid of all.filter((pid) => pid > 0)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended by itself meanwhile.
    }
  }
}

/** @param {number} pid */
function childrenOf(pid) {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8").split(" ").filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}
