/** `perf-kvm export`: a recording in another format. */
import { closeSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { ExportError, VALUES } from "../export/format.js";
import { EXPORT_FORMATS } from "../export/formats.js";
import type { Write } from "../export/output.js";
import { CliError, EXIT } from "./errors.js";
import { type GuestSymbolOptions, guestSymbolsOf } from "./guest-symbol-options.js";
import { withRecording } from "./recording.js";
import { NoReader, writeOut } from "./write-out.js";

export interface ExportOptions extends GuestSymbolOptions {
  readonly to: string;
  readonly output?: string;
  readonly value: string;
}

export async function exportRecording(
  path: string,
  { to, output, value: asked, ...guest }: ExportOptions,
): Promise<number> {
  const format = Object.hasOwn(EXPORT_FORMATS, to) ? EXPORT_FORMATS[to]! : undefined;
  if (format === undefined) throw new CliError(`--to ${to}: one of ${Object.keys(EXPORT_FORMATS).join(", ")}`);
  const value = VALUES.find((name) => name === asked);
  if (value === undefined) throw new CliError(`--value ${asked}: one of ${VALUES.join(", ")}`);
  const symbolsOf = guestSymbolsOf(guest);
  const toStdout = output === undefined || output === "-";
  if (toStdout && format.isBinary && process.stdout.isTTY)
    throw new CliError(`--to ${to}: not for a terminal; name a file with -o, or use a pipe`);
  return withRecording(path, (recording) => {
    try {
      const convert = (write: Write): readonly string[] => format.write(recording, write, { value, symbolsOf });
      const notes = toStdout ? convert(writeOut) : intoFile(output, convert);
      for (const note of notes) process.stderr.write(`perf-kvm: note: ${note}\n`);
    } catch (error) {
      if (error instanceof ExportError) throw new CliError(`${path}: ${error.message}`, EXIT.FAILURE);
      if (!(error instanceof NoReader)) throw error;
    }
    return EXIT.OK;
  });
}

/** A file that was there stays as it was until all is written. */
function intoFile<Result>(path: string, work: (write: Write) => Result): Result {
  const unfinished = `${path}.${process.pid}.part`;
  try {
    const fd = openSync(unfinished, "wx", 0o666);
    let result: Result;
    try {
      result = work((bytes) => {
        for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      });
    } finally {
      closeSync(fd);
    }
    renameSync(unfinished, path);
    return result;
  } catch (error) {
    rmSync(unfinished, { force: true });
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (code === undefined || syscall === undefined) throw error;
    throw new CliError(`--output ${path}: ${(error as Error).message}`, EXIT.FAILURE);
  }
}
