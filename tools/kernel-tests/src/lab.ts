/** The same command line once more, inside the lab. */
import { fileURLToPath } from "node:url";
import { LabError, runInLab } from "tools-lab";
import { type Options, UsageError } from "./options.js";

const PROGRAM = fileURLToPath(new URL("cli.js", import.meta.url));
const LAB_CPUS = 4;

export async function runAgainInLab(options: Options, signal: AbortSignal): Promise<number> {
  try {
    const { exitCode, outcome, consoleTail, complaints } = await runInLab({
      command: ["node", PROGRAM, ...options.inner],
      cpus: LAB_CPUS,
      kernel: options.kernel,
      modules: options.modules,
      stdout: process.stdout,
      stderr: process.stderr,
      signal,
    });
    const lines = outcome === "crashed" ? consoleTail : complaints;
    if (lines.length > 0) process.stderr.write(`kernel-tests: the lab's kernel said:\n  ${lines.join("\n  ")}\n`);
    return exitCode;
  } catch (error) {
    if (error instanceof LabError) throw new UsageError(error.message);
    throw error;
  }
}
