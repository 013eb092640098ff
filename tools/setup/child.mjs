/** Runs other programs: quietly with a progress line, line by line, or in our place on the terminal. Ctrl-C ends them and then us. */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { Progress } from "./progress.mjs";

/** @typedef {{ status: number, output: string }} Outcome */

const KEEP_CHARACTERS = 1 << 20;

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
  const status = await runWithOutput(command, options, (text) => {
    output = (output + text).slice(-KEEP_CHARACTERS);
  });
  progress.stop();
  return { status, output };
}

/**
 * Runs a program and hands on each line that it writes, of both streams.
 *
 * @param {readonly string[]} command
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv }} options
 * @param {(line: string) => void} onLine
 * @returns {Promise<number>}
 */
export async function runByLine(command, options, onLine) {
  let unfinished = "";
  const status = await runWithOutput(command, options, (text) => {
    const lines = (unfinished + text).split("\n");
    unfinished = lines.pop() ?? "";
    for (const line of lines) onLine(line);
  });
  if (unfinished !== "") onLine(unfinished);
  return status;
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
 * @param {(text: string) => void} onText
 */
function runWithOutput(command, options, onText) {
  const child = spawn(command[0], command.slice(1), { ...options, stdio: ["ignore", "pipe", "pipe"] });
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", onText);
  return ended(child, onText);
}

/**
 * @param {import("node:child_process").ChildProcess} child
 * @param {(text: string) => void} [onText]
 * @returns {Promise<number>}
 */
function ended(child, onText) {
  running.add(child);
  return new Promise((done) => {
    child.on("error", (error) => {
      running.delete(child);
      onText?.(`${error.message}\n`);
      done(127);
    });
    child.on("close", (code, signal) => {
      running.delete(child);
      if (interruptedBy !== undefined) process.exit(signalStatus(interruptedBy));
      done(exitStatus(code, signal));
    });
  });
}
