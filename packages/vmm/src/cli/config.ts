/** `vmm config`: what a command line means, as a machine file; and machine files as a part of a command line. */

import { readMachineFile } from "./machine-file/read.js";
import { machineFileSchema } from "./machine-file/schema.js";
import { machineFile } from "./machine-file/write.js";
import type { RunOptions } from "./run-options.js";

interface ConfigOptions extends RunOptions {
  readonly schema?: boolean;
}

/** @param isGiven whether an option is on the command line, rather than its default */
export function config(options: ConfigOptions, isGiven: (key: string) => boolean): number {
  const shown = options.schema === true ? machineFileSchema() : machineFile(allOf(options, isGiven), process.cwd());
  process.stdout.write(`${JSON.stringify(shown, undefined, 2)}\n`);
  return 0;
}

/**
 * The options with those of `--config` among them: what the command line says goes before, and lists have both, the file's first.
 * Throws CliError.
 */
export function withMachineFile(options: RunOptions, isGiven: (key: string) => boolean): RunOptions {
  return allOf(options, isGiven) as unknown as RunOptions;
}

function allOf(options: RunOptions, isGiven: (key: string) => boolean): Record<string, unknown> {
  const all: Record<string, unknown> = { ...options };
  if (options.config === undefined) return all;
  for (const [key, value] of Object.entries(readMachineFile(options.config))) {
    if (Array.isArray(value)) all[key] = [...value, ...((all[key] ?? []) as string[])];
    else if (!isGiven(key)) all[key] = value;
  }
  return all;
}
