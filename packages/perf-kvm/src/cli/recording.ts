/** What the commands that read a recording have in common. */
import { PerfDataError } from "../sources/perf-data/error.js";
import { PerfDataReader } from "../sources/perf-data/reader.js";
import { CliError, EXIT } from "./errors.js";

/** The name that perf itself gives a recording. */
export const DEFAULT_RECORDING = "perf.data";

/** Opens a recording, works with it and closes it; what is wrong with the file becomes one line. */
export async function withRecording<Result>(
  path: string,
  work: (reader: PerfDataReader) => Result | Promise<Result>,
): Promise<Result> {
  let reader: PerfDataReader | undefined;
  try {
    reader = PerfDataReader.open(path);
    return await work(reader);
  } catch (error) {
    if (error instanceof PerfDataError) throw new CliError(`${path}: ${error.message}`, EXIT.FAILURE);
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (reader === undefined && code !== undefined && (syscall !== undefined || code === "EISDIR")) {
      throw new CliError(`${path}: ${reasonOf(code)}`, EXIT.FAILURE);
    }
    throw error;
  } finally {
    reader?.close();
  }
}

function reasonOf(code: string): string {
  if (code === "ENOENT") return "there is no such file; record one with `perf-kvm record`, or name one with -i";
  if (code === "EACCES") return "may not be read by this user";
  if (code === "EISDIR") return "is a folder; recordings of `perf record --threads` are not read";
  return code;
}
