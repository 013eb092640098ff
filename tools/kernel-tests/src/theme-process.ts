/**
 * The process in which tests run: a list of test ids on the command line, a line of JSON on descriptor 3 when one begins and when it
 * ends. Written synchronously, because a test may be stuck in an ioctl a moment later.
 */
import { writeSync } from "node:fs";
import { Failure } from "./expect.js";
import { spoil } from "./mutations.js";
import { allTests, type KernelTest, Skip } from "./registry.js";
import "./themes/index.js";

export type Outcome = "passed" | "failed" | "skipped";
export type Report =
  | { readonly begin: string }
  | { readonly end: string; readonly outcome: Outcome; readonly detail: string; readonly timeMs: number };

const REPORTS = 3;

function report(what: Report): void {
  writeSync(REPORTS, `${JSON.stringify(what)}\n`);
}

async function outcomeOf(test: KernelTest): Promise<[Outcome, string]> {
  try {
    await test.body();
    return ["passed", ""];
  } catch (error) {
    if (error instanceof Skip) return ["skipped", error.message];
    // A broken promise is told in a line; what nobody expected comes with where it happened.
    if (error instanceof Failure) return ["failed", error.message];
    return ["failed", error instanceof Error ? (error.stack ?? error.message) : String(error)];
  }
}

const [mutation = "", ...ids] = process.argv.slice(2);
if (mutation !== "") spoil(mutation);
const byId = new Map(allTests().map((test) => [test.id, test]));
for (const id of ids) {
  report({ begin: id });
  const start = performance.now();
  const [outcome, detail] = await outcomeOf(byId.get(id)!);
  report({ end: id, outcome, detail, timeMs: Math.round(performance.now() - start) });
}
// Workers that a failed test left behind do not keep the process.
process.exit(0);
