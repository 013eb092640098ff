/** What npm test does on a Node that is recent enough. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { passSignalsOn, runByLine } from "./child.mjs";
import { build, nx, prepare, ROOT } from "./prepare.mjs";
import { Progress } from "./progress.mjs";
import { parseCountsLine, parseSkippedLine } from "./report-lines.mjs";
import { readableOutput, TaskStream, withoutColours } from "./task-stream.mjs";
import { TestSummary, verdict } from "./test-summary.mjs";

const HELP = `npm test -- [OPTION]... [PACKAGE]...

Sets up what is missing, builds, and runs every test this machine can run: typecheck and tests of all packages, then the
lab's suite where QEMU is there. Ends with what was skipped and why, and with a line "N passed, N failed, N skipped".

  PACKAGE     only these: vmm, perf-kvm, lab, ... (a folder's or a package's name)
  --no-lab    leaves the lab's suite out
  --verbose   shows the whole output of every task, not only of those that failed
  --help
`;

const LAB = "tools-lab";

/** @param {string[]} words */
export async function test(words) {
  const options = parse(words);
  if (options === undefined) return;
  passSignalsOn();
  await prepare({ needsKvm: false });
  await build();

  const summary = new TestSummary();
  await runTasks(summary, options);
  const wantsLab = options.projects.length === 0 || options.projects.includes(LAB);
  if (wantsLab && options.lab) await runLabSuite(summary);
  else if (wantsLab) summary.skip("the lab's suite", "--no-lab was given");

  process.stdout.write(summary.text());
  process.exitCode = summary.failed ? 1 : 0;
}

/** @param {string[]} words */
function parse(words) {
  const options = { lab: true, verbose: false, projects: /** @type {string[]} */ ([]) };
  const known = workspaces();
  for (const word of words) {
    if (word === "--help" || word === "-h") {
      process.stdout.write(HELP);
      return undefined;
    }
    const project = known.find(({ folder, name }) => [folder, name, name.replace(/^@[^/]*\//, "")].includes(word));
    if (word === "--no-lab") options.lab = false;
    else if (word === "--verbose") options.verbose = true;
    else if (project !== undefined) options.projects.push(project.name);
    else {
      const what = word.startsWith("-") ? "option" : "package";
      process.stderr.write(`tools-kvm: there is no ${what} ${word}: see npm test -- --help\n`);
      process.exitCode = 2;
      return undefined;
    }
  }
  return options;
}

function workspaces() {
  return ["packages", "tools"].flatMap((parent) =>
    readdirSync(join(ROOT, parent))
      .map((folder) => join(ROOT, parent, folder, "package.json"))
      .filter((path) => existsSync(path))
      .map((path) => ({
        folder: basename(join(path, "..")),
        name: String(JSON.parse(readFileSync(path, "utf8")).name),
      })),
  );
}

/**
 * @param {TestSummary} summary
 * @param {{ verbose: boolean, projects: string[] }} options
 */
async function runTasks(summary, { verbose, projects }) {
  const progress = new Progress();
  let done = 0;
  progress.start("testing");
  const stream = new TaskStream((task) => {
    done++;
    progress.relabel(`testing, ${done} tasks done`);
    const found = verdict(task);
    if (verbose) progress.print(`${task.lines.join("\n")}\n`);
    else if (found === "failed") progress.print(readableOutput(task));
    // A build came from the cache, or it would not have got here.
    if (task.target !== "build" || found === "failed") progress.print(summary.add(task));
  });
  const only = projects.length === 0 ? [] : ["-p", projects.join(",")];
  const command = nx("run-many", "-t", "typecheck", "test", "--output-style=static", ...only);
  const lastLines = /** @type {string[]} */ ([]);
  const status = await runByLine(command, { cwd: ROOT }, (line) => {
    stream.push(line);
    lastLines.push(line);
    if (lastLines.length > 30) lastLines.shift();
  });
  stream.end();
  progress.stop();
  for (const late of summary.close(stream.failed, stream.notRun)) process.stdout.write(late);
  if (status !== 0 && !summary.failed) {
    process.stdout.write(`${lastLines.join("\n")}\n`);
    summary.fail("nx", `ended with status ${status}`);
  }
}

/** @param {TestSummary} summary */
async function runLabSuite(summary) {
  const progress = new Progress();
  progress.start("testing in the lab");
  let counted = false;
  const command = [process.execPath, join(ROOT, "tools/lab/bin/lab.js"), "--suite"];
  const status = await runByLine(command, { cwd: ROOT }, (line) => {
    const plain = withoutColours(line);
    const skipped = parseSkippedLine(plain);
    const counts = parseCountsLine(plain);
    if (skipped !== undefined) summary.skipNamed(`in the lab: ${skipped.test}`, skipped.reason);
    else if (counts !== undefined) {
      summary.count(counts);
      counted = true;
    } else progress.print(`${line}\n`);
  });
  progress.stop();
  if (status !== 0 && !summary.failed) summary.fail("the lab's suite", `ended with status ${status}`);
  else if (!counted && status === 0) summary.fail("the lab's suite", "gave no counts");
}
