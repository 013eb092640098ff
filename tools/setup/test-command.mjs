/** What npm test does on a Node that is recent enough. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { passSignalsOn, runByLine } from "./child.mjs";
import { build, nx, prepare, ROOT } from "./prepare.mjs";
import { Progress } from "./progress.mjs";
import { readableOutput, TaskStream } from "./task-stream.mjs";
import { TestSummary, verdict } from "./test-summary.mjs";
import { unpack, unpackedProgram } from "./unpacked.mjs";

const HELP = `npm test -- [OPTION]... [PACKAGE]...

Sets up what is missing, builds, and runs every test this machine can run: typecheck and tests of all packages, then the
lab's suite where QEMU is there. Ends with what was skipped and why, and with a line "N passed, N failed, N skipped".

  PACKAGE     only these: vmm, perf-kvm, lab, ... (a folder's or a package's name)
  --no-lab    leaves the lab's suite out
  --verbose   shows the whole output of every task, not only of those that failed
  --help
`;

const LAB = "tools-lab";
const TARGETS = ["typecheck", "test"];
const LAB_TARGETS = ["suite"];
/**
 * A test that is stuck inside an ioctl hears no timeout of its runner. nx writes when a task has ended; none takes nearly as
 * long as this, even on two slow cores. The lab's suite is one task, with timeouts of its own for its entries.
 */
const SILENCE_LIMIT_MS = 15 * 60_000;
const LAB_SILENCE_LIMIT_MS = 40 * 60_000;

/** @param {string[]} words */
export async function test(words) {
  const options = parse(words);
  if (options === undefined) return;
  passSignalsOn();
  await prepare({ needsKvm: false });
  if (unpackedProgram("prometheus", "prometheus") === undefined) await unpack("prometheus");
  await build();

  const summary = new TestSummary();
  await runTasks(summary, options, TARGETS, SILENCE_LIMIT_MS);
  const wantsLab = options.projects.length === 0 || options.projects.includes(LAB);
  // By itself, because an emulated machine beside other tests makes both slow.
  if (wantsLab && options.lab) {
    await runTasks(summary, { ...options, projects: [LAB] }, LAB_TARGETS, LAB_SILENCE_LIMIT_MS);
  } else if (wantsLab) summary.skip("the lab's suite", "--no-lab was given");

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

/** Every package of this tree, with its scripts, which are nx's targets. */
function workspaces() {
  return ["packages", "tools"].flatMap((parent) =>
    readdirSync(join(ROOT, parent))
      .map((folder) => join(ROOT, parent, folder, "package.json"))
      .filter((path) => existsSync(path))
      .map((path) => {
        const { name, scripts } = JSON.parse(readFileSync(path, "utf8"));
        return {
          folder: basename(join(path, "..")),
          name: String(name),
          targets: Object.keys(scripts ?? {}),
        };
      }),
  );
}

/**
 * @param {TestSummary} summary
 * @param {{ verbose: boolean, projects: string[] }} options All projects when none is named.
 * @param {readonly string[]} targets
 * @param {number} silenceLimitMs
 */
async function runTasks(summary, { verbose, projects }, targets, silenceLimitMs) {
  const chosen = workspaces().filter(({ name }) => projects.length === 0 || projects.includes(name));
  const waiting = new Set(
    chosen.flatMap((project) =>
      targets.filter((target) => project.targets.includes(target)).map((target) => `${project.name}:${target}`),
    ),
  );
  const total = waiting.size;
  const progress = new Progress();
  const tell = () => {
    const left = waiting.size > 0 && waiting.size <= 2 ? `, waiting for ${[...waiting].join(" and ")}` : "";
    progress.relabel(`testing: ${total - waiting.size} of ${total} tasks done${left}`);
  };
  progress.start("testing");
  tell();
  const onHeader = (/** @type {string} */ id) => {
    waiting.delete(id);
    tell();
  };
  const stream = new TaskStream((task) => {
    const found = verdict(task);
    if (verbose) progress.print(`${task.lines.join("\n")}\n`);
    else if (found === "failed") progress.print(readableOutput(task));
    // A build came from the cache, or it would not have got here.
    if (task.target !== "build" || found === "failed") progress.print(summary.add(task));
  }, onHeader);
  const only = projects.length === 0 ? [] : ["-p", projects.join(",")];
  const command = nx("run-many", "-t", ...targets, "--output-style=static", ...only);
  const lastLines = /** @type {string[]} */ ([]);
  const { status, silent } = await runByLine(command, { cwd: ROOT, silenceLimitMs }, (line) => {
    stream.push(line);
    lastLines.push(line);
    if (lastLines.length > 30) lastLines.shift();
  });
  stream.end();
  progress.stop();
  for (const late of summary.close(stream.failed, stream.notRun)) process.stdout.write(late);
  if (silent) {
    for (const id of waiting) summary.fail(id, `did not end: no task has for ${silenceLimitMs / 60_000} minutes`);
  } else if (status !== 0 && !summary.failed) {
    process.stdout.write(`${lastLines.join("\n")}\n`);
    summary.fail("nx", `ended with status ${status}`);
  }
}
