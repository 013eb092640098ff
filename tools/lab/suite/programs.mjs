/** What the suite's scripts share: programs that they start, watch and never leave behind. */
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";

const RUN_LIMIT_MS = 120_000;
const POLL_MS = 100;

const children = [];

/** Starts a program; its output is collected, its end awaited by `done`, which gives its exit code. */
export function start(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], ...options });
  children.push(child);
  const out = { text: "", errors: "" };
  child.stdout.on("data", (bytes) => {
    out.text += bytes;
  });
  child.stderr.on("data", (bytes) => {
    out.errors += bytes;
  });
  const done = new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
  return { child, out, done };
}

/** Waits for something that `program` brings about. Throws when it ends, or takes too long. */
export async function until(what, program, condition) {
  const deadline = Date.now() + RUN_LIMIT_MS;
  while (!condition()) {
    const said = `${program.out.text.slice(-2000)}${program.out.errors}`;
    if (program.child.exitCode !== null) throw new Error(`${what}: the program ended: ${said}`);
    if (Date.now() > deadline) throw new Error(`${what}: nothing came of it in ${RUN_LIMIT_MS / 1000} s: ${said}`);
    await sleep(POLL_MS);
  }
}

/** Ends what still runs. */
export function endAll() {
  for (const child of children) if (child.exitCode === null) child.kill("SIGKILL");
}
