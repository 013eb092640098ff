/** Adds up what the tasks of a test run said, and says it at the end: what failed, what was skipped and why, and how many of each. */
import { totals } from "./report-lines.mjs";
import { readableOutput, withoutColours } from "./task-stream.mjs";

/** @typedef {import("./task-stream.mjs").Task} Task */
/** @typedef {import("./report-lines.mjs").Counts} Counts */

/** npm's and the compiler's own words for a task that failed. */
const FAILURE = /^npm (error|ERR!) Lifecycle script|^\S.*\berror TS\d+:/;
/** The count in vitest's own summary, for a package whose configuration lacks our reporter. */
const VITEST_TESTS = /^\s*Tests\s+(.*)\(\d+\)\s*$/;

/**
 * What a task's output says of its end; nx's list of failed tasks comes only after all of them.
 *
 * @param {Task} task
 * @returns {"failed" | "unknown"}
 */
export function verdict(task) {
  const failed = (countsOf(task)?.failed ?? 0) > 0 || task.lines.some((line) => FAILURE.test(withoutColours(line)));
  return failed ? "failed" : "unknown";
}

/**
 * @param {Task} task
 * @returns {Counts | undefined}
 */
function countsOf(task) {
  return task.counts ?? vitestCounts(task.lines);
}

/**
 * @param {readonly string[]} lines
 * @returns {Counts | undefined}
 */
function vitestCounts(lines) {
  const match = lines.map((line) => VITEST_TESTS.exec(withoutColours(line))).find((found) => found !== null);
  if (match === undefined || match === null) return undefined;
  /** @param {string} word */
  const number = (word) => Number(new RegExp(`(\\d+) ${word}`).exec(match[1])?.[1] ?? 0);
  return { passed: number("passed"), failed: number("failed"), skipped: number("skipped") + number("todo") };
}

export class TestSummary {
  #counts = { passed: 0, failed: 0, skipped: 0 };
  /** Tests by the reason for which they were skipped. @type {Map<string, string[]>} */
  #skipped = new Map();
  /** @type {string[]} */
  #failures = [];
  /** Every task that was added and had not failed by its own words. @type {Map<string, Task>} */
  #open = new Map();

  get failed() {
    return this.#counts.failed > 0;
  }

  /**
   * Takes in a task and gives the line that stands for it.
   *
   * @param {Task} task
   */
  add(task) {
    const id = `${task.project}:${task.target}`;
    const counts = countsOf(task);
    if (counts !== undefined) this.count(counts);
    const where = task.target === "test" ? task.project : `${task.project} ${task.target}`;
    for (const { test, reason } of task.skipped) this.skipNamed(`${where}: ${test}`, reason);
    const unnamed = (counts?.skipped ?? 0) - task.skipped.length;
    if (unnamed > 0) this.skipNamed(`${where}: ${unnamed} tests that its output does not name`, "gave no reason");

    const failed = verdict(task) === "failed";
    if (failed) this.#fail(id, counts);
    else this.#open.set(id, task);
    const said = [
      counts === undefined || task.target !== "test" ? task.target : "",
      counts === undefined ? "" : totals(counts),
    ];
    return `${failed ? "FAILED" : "ok    "}  ${task.project.padEnd(24)}${said.filter(Boolean).join(": ")}${task.cached ? "  (cached)" : ""}\n`;
  }

  /**
   * Takes in which tasks nx names as failed, and gives the output of those whose own words did not say so.
   *
   * @param {ReadonlySet<string>} failedTasks
   * @param {ReadonlySet<string>} [notRun] Tasks that had to be left out: nobody knows that they pass.
   */
  close(failedTasks, notRun = new Set()) {
    const late = [];
    for (const id of failedTasks) {
      if (this.#failures.includes(id)) continue;
      const task = this.#open.get(id);
      late.push(`${task === undefined ? "" : readableOutput(task)}FAILED  ${id}\n`);
      this.#fail(id, undefined);
    }
    for (const id of notRun) this.fail(id, "did not run, because what it builds on failed");
    // A test that passed and gave no number is one.
    for (const [id, task] of this.#open) {
      if (task.target === "test" && countsOf(task) === undefined && !failedTasks.has(id)) this.#counts.passed++;
    }
    this.#open.clear();
    return late;
  }

  /** @param {Counts} counts */
  count(counts) {
    this.#counts.passed += counts.passed;
    this.#counts.failed += counts.failed;
    this.#counts.skipped += counts.skipped;
  }

  /** A test that was skipped and is in no count. @param {string} test @param {string} reason */
  skip(test, reason) {
    this.#counts.skipped++;
    this.skipNamed(test, reason);
  }

  /** The name of a test whose number is, or will be, counted. @param {string} test @param {string} reason */
  skipNamed(test, reason) {
    this.#skipped.set(reason, [...(this.#skipped.get(reason) ?? []), test]);
  }

  /** Something that failed and is in no count. @param {string} what @param {string} how */
  fail(what, how) {
    this.#counts.failed++;
    this.#failures.push(`${what} ${how}`);
  }

  /** The last words of a run; the very last line is the totals alone. */
  text() {
    const lines = [""];
    if (this.#skipped.size > 0) {
      lines.push("Skipped, and why:");
      for (const [reason, tests] of this.#skipped) lines.push(`  ${reason}`, ...tests.map((test) => `    ${test}`));
      lines.push("");
    }
    if (this.#failures.length > 0) lines.push("Failed:", ...this.#failures.map((failure) => `  ${failure}`), "");
    lines.push(totals(this.#counts), "");
    return lines.join("\n");
  }

  /**
   * A task that failed without naming a test, such as a typecheck, is one failure.
   *
   * @param {string} id
   * @param {Counts | undefined} counts
   */
  #fail(id, counts) {
    this.#failures.push(id);
    if ((counts?.failed ?? 0) === 0) this.#counts.failed++;
  }
}
