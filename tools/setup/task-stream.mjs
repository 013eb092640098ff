/**
 * Cuts the output of `nx run-many --output-style=static` into tasks and takes from each what the summary needs. Static output
 * has one block a task, complete and in one piece, headed by "> nx run PROJECT:TARGET  [local cache]".
 *
 * @typedef {import("./report-lines.mjs").Counts} Counts
 *
 * @typedef {object} Task
 * @property {string} project
 * @property {string} target
 * @property {boolean} cached
 * @property {string[]} lines Its output, without nx's own lines.
 * @property {Counts | undefined} counts What it said of its tests; undefined when it said nothing.
 * @property {import("./report-lines.mjs").Skipped[]} skipped
 */
import { parseCountsLine, parseSkippedLine } from "./report-lines.mjs";

const TASK_HEADER = /^> nx run (\S+):([\w-]+)(\s+\[.*\])?$/;
/** nx's last words: what ran, and which tasks failed. */
const CLOSING = /^\s*NX\s+/;
const FAILED_TASKS = /^Failed tasks:/;
const LISTED_TASK = /^\s*- (\S+):([\w-]+)$/;
/** npm's own words around a script that failed tell nothing that the script did not. */
const NPM_NOISE = /^npm (error|ERR!|warn|WARN)\b/;

export class TaskStream {
  #onTask;
  #onHeader;
  /** @type {Task | undefined} */
  #current;
  #closing = false;
  #listsFailed = false;
  /** Tasks that nx names as failed: "tools-lab:test". @type {Set<string>} */
  failed = new Set();
  /** Tasks that nx names as not run, because one they build on failed. @type {Set<string>} */
  notRun = new Set();

  /**
   * @param {(task: Task) => void} onTask Called with each task when its block is complete, which only the next block tells.
   * @param {(id: string) => void} [onHeader] Called with "tools-lab:test" as soon as a task is known to have ended.
   */
  constructor(onTask, onHeader = () => {}) {
    this.#onTask = onTask;
    this.#onHeader = onHeader;
  }

  /** @param {string} raw One line, colours and all. */
  push(raw) {
    const line = withoutColours(raw).trimEnd();
    const header = TASK_HEADER.exec(line);
    if (header !== null) {
      this.end();
      this.#closing = false;
      this.#current = {
        project: header[1],
        target: header[2],
        cached: header[3] !== undefined,
        lines: [],
        counts: undefined,
        skipped: [],
      };
      this.#onHeader(`${header[1]}:${header[2]}`);
      return;
    }
    if (CLOSING.test(line)) {
      this.end();
      this.#closing = true;
      return;
    }
    if (this.#closing) {
      if (line.endsWith(":")) this.#listsFailed = FAILED_TASKS.test(line);
      const listed = LISTED_TASK.exec(line);
      if (listed !== null) (this.#listsFailed ? this.failed : this.notRun).add(`${listed[1]}:${listed[2]}`);
      return;
    }
    if (this.#current === undefined) return;
    this.#current.counts = parseCountsLine(line) ?? this.#current.counts;
    const skipped = parseSkippedLine(line);
    if (skipped !== undefined) this.#current.skipped.push(skipped);
    else if (parseCountsLine(line) === undefined) this.#current.lines.push(raw);
  }

  /** The stream is over, and with it the last task. */
  end() {
    if (this.#current !== undefined) this.#onTask(this.#current);
    this.#current = undefined;
  }
}

/** What to show of a task that failed. @param {Task} task */
export function readableOutput({ lines }) {
  const kept = lines.filter((line) => !NPM_NOISE.test(withoutColours(line)));
  return `${kept.join("\n").trim()}\n`;
}

/** @param {string} text */
export function withoutColours(text) {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with one
  return text.replace(/\x1b\[[0-9;?]*[A-Za-z]/g, "");
}
