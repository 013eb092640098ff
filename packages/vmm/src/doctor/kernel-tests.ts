/** What the kernel's tests (tools/kernel-tests) found when they last ran on this host, from the file that they leave. */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { homedir, release } from "node:os";
import { join } from "node:path";
import * as v from "valibot";

const MAX_FILE_BYTES = 256 * 1024;
const NAMED_FAILURES = 5;
const COMMAND = "npm run kernel-tests";

const count = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1e6));
const name = v.pipe(v.string(), v.maxLength(200), v.regex(/^[ -~]*$/));

const lastResult = v.object({
  version: v.literal(1),
  at: v.pipe(v.string(), v.isoTimestamp()),
  kernel: name,
  kind: name,
  passed: count,
  failed: count,
  expectedFailures: count,
  skipped: count,
  unexpectedFailures: v.pipe(v.array(name), v.maxLength(10_000)),
});

export type LastResult = v.InferOutput<typeof lastResult>;

export interface KernelTestsFinding {
  readonly verdict: "ok" | "missing" | "wrong";
  readonly detail: string;
  readonly advice: string;
}

/** Where the file lies: $XDG_STATE_HOME or ~/.local/state (XDG Base Directory Specification). */
export function kernelTestsResultPath(env: NodeJS.ProcessEnv = process.env): string {
  const state = env.XDG_STATE_HOME;
  return join(state?.startsWith("/") ? state : join(homedir(), ".local/state"), "tools-kvm/kernel-tests.json");
}

/** What to say about the file, whatever is in its place. Never throws. */
export function kernelTestsFinding(path = kernelTestsResultPath(), kernel = release()): KernelTestsFinding {
  let text: string;
  try {
    text = readSmallFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT")
      return { verdict: "ok", detail: `not run here yet: ${COMMAND}, in tools-kvm's tree`, advice: "" };
    return unusable(path, (error as Error).message);
  }
  const result = parse(text);
  return typeof result === "string" ? unusable(path, result) : told(result, kernel);
}

function unusable(path: string, why: string): KernelTestsFinding {
  return { verdict: "wrong", detail: `${path}: ${why}`, advice: `delete the file, and ${COMMAND} again` };
}

function told(result: LastResult, kernel: string): KernelTestsFinding {
  const { passed, failed, expectedFailures, skipped, at, unexpectedFailures } = result;
  const when = at.slice(0, 10);
  const counts = `${passed} passed, ${failed} failed, ${expectedFailures} failed as expected, ${skipped} skipped`;
  const detail = `${counts} on ${when}, kernel ${result.kernel}`;
  if (result.kernel !== kernel)
    return { verdict: "missing", detail, advice: `stale, this kernel is ${kernel}: ${COMMAND} again` };
  if (failed === 0) return { verdict: "ok", detail, advice: "" };
  const named = unexpectedFailures.slice(0, NAMED_FAILURES).join(", ");
  const more = unexpectedFailures.length > NAMED_FAILURES ? " and others" : "";
  return { verdict: "wrong", detail, advice: `this kernel does not do what it promises: ${named}${more}` };
}

/** @returns the result, or what is wrong with the text */
function parse(text: string): LastResult | string {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return "is not JSON";
  }
  const parsed = v.safeParse(lastResult, json);
  return parsed.success ? parsed.output : `is not a result: ${parsed.issues[0].message.slice(0, 200)}`;
}

/** Neither waits for the writer of a FIFO nor reads a file without end. */
function readSmallFile(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size > MAX_FILE_BYTES) throw new Error("is not a small file");
    return readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
  }
}
