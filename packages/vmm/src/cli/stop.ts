/**
 * `vmm stop NAME...`: ends machines, and waits until they have. A guest that listens to its power button is asked first,
 * and has a while to put its affairs in order.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { ask, ClientError, isRunning } from "../control/client.js";
import { CliError, EXIT } from "./errors.js";

export interface StopOptions {
  /** Seconds, as they were given. */
  readonly grace: string;
  readonly now?: boolean;
}

const POLL_MS = 50;
const MS_PER_SECOND = 1000;

export async function stop(names: readonly string[], options: StopOptions): Promise<number> {
  const graceMs = options.now ? 0 : graceOf(options.grace);
  const exitCodes = await Promise.all([...new Set(names)].map((name) => stopOne(name, graceMs)));
  return Math.max(...exitCodes);
}

function graceOf(text: string): number {
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(seconds)) throw new CliError(`--grace ${text}: a number of seconds`);
  return seconds * MS_PER_SECOND;
}

async function stopOne(name: string, graceMs: number): Promise<number> {
  try {
    if (graceMs > 0 && (await switchedOff(name, graceMs))) return EXIT.OK;
    await ask(name, "stop");
    return EXIT.OK;
  } catch (error) {
    if (!(error instanceof ClientError)) throw error;
    process.stderr.write(`vmm: ${error.message}\n`);
    return EXIT.FAILURE;
  }
}

/** Presses the power button, and says whether the guest has switched off within `graceMs`. */
async function switchedOff(name: string, graceMs: number): Promise<boolean> {
  const { phase } = await ask(name, "status");
  if (phase !== "running" || !(await ask(name, "powerbutton")).heard) return false;
  const end = Date.now() + graceMs;
  while (Date.now() < end) {
    if (!(await isRunning(name))) return true;
    await sleep(POLL_MS);
  }
  process.stderr.write(`vmm: ${name} has not switched off within ${graceMs / MS_PER_SECOND} s: stopping it\n`);
  return false;
}
