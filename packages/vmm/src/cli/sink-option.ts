/** Where a stream of the guest's goes, as options say it. */
import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { MOST_PATH_BYTES } from "../host/socket-file.js";
import { CliError, whyNot } from "./errors.js";

export type Sink =
  | { kind: "stdio" }
  | { kind: "stderr" }
  | { kind: "file"; path: string }
  /** Absolute, of a unix socket for those who look at it. */
  | { kind: "socket"; path: string }
  | { kind: "pty" }
  | { kind: "null" };

const PREFIXES = ["file", "socket"] as const;

/** `given` is the whole option as it was given. Throws CliError. */
export function sink(given: string, text: string, allowed: readonly Sink["kind"][]): Sink {
  for (const kind of PREFIXES) {
    const path = text.slice(kind.length + 1);
    if (!allowed.includes(kind) || !text.startsWith(`${kind}:`) || path === "") continue;
    return kind === "file" ? { kind, path } : { kind, path: socketPath(given, path) };
  }
  const kind = allowed.find((candidate) => candidate === text && !PREFIXES.some((prefix) => prefix === candidate));
  if (kind === undefined) {
    const choices = allowed.map((each) => (each === "file" || each === "socket" ? `${each}:PATH` : each));
    throw new CliError(`${given}: one of ${choices.join(", ")}`);
  }
  return { kind } as Sink;
}

/** The absolute path of a socket that can be made there. Throws CliError, which begins with `what`. */
export function socketPath(what: string, text: string, mostBytes = MOST_PATH_BYTES): string {
  const path = resolve(text);
  const refuse = (why: string): never => {
    throw new CliError(`${what}: ${why}`);
  };
  if (Buffer.byteLength(path) > mostBytes) refuse(`the socket's path is longer than ${mostBytes} bytes`);
  try {
    statSync(dirname(path));
  } catch (error) {
    refuse(`${dirname(path)}: ${whyNot(error)}`);
  }
  if (statSync(path, { throwIfNoEntry: false })?.isSocket() === false) refuse(`${path} is there, and no socket`);
  return path;
}
