/** Sets up what is missing, then builds: the part that npm start and npm test have in common. */
import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runQuietly } from "./child.mjs";
import { gatherFacts } from "./facts.mjs";
import { aptCommand, findings } from "./findings.mjs";
import { nodeModulesState } from "./node-modules.mjs";
import { readableOutput, TaskStream } from "./task-stream.mjs";

/** @typedef {import("./findings.mjs").Finding} Finding */

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

const APT_ENVIRONMENT = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };

/** Ends the process with status 1 after one line for each thing a person has to mend. @param {readonly Finding[]} list */
function stopWith(list) {
  for (const finding of list) say(finding);
  process.exit(1);
}

/** @param {Finding} finding */
function say({ problem, remedy }) {
  process.stderr.write(`tools-kvm: ${problem}: ${remedy}\n`);
}

/**
 * Leaves a machine on which the build can run, or does not return.
 *
 * @param {{ needsKvm: boolean }} options
 */
export async function prepare({ needsKvm }) {
  let facts = gatherFacts();
  let list = findings(facts);
  const cannotGoOn = list.filter(({ severity }) => severity === "stop");
  if (cannotGoOn.length > 0) stopWith(cannotGoOn);

  if (facts.isRoot && facts.hasApt && list.some(({ packages }) => packages !== undefined)) {
    await installPackages(list);
    facts = gatherFacts();
    list = findings(facts);
  }
  const stops = list.filter(({ severity }) => severity === "install" || (needsKvm && severity === "no-kvm"));
  if (stops.length > 0)
    stopWith([...oneInstall(stops, facts.hasApt, facts.isRoot), ...stops.filter((stop) => !stop.packages)]);

  const noKvm = list.filter(({ severity }) => severity === "no-kvm");
  for (const finding of noKvm) say({ ...finding, problem: `no guest will run: ${finding.problem}` });
  for (const finding of oneInstall(
    list.filter(({ severity }) => severity === "lab"),
    facts.hasApt,
    facts.isRoot,
  ))
    say(finding);

  await installNodeModules();
}

/**
 * Several packages by one command are one line, not several.
 *
 * @param {readonly Finding[]} list
 * @param {boolean} hasApt
 * @param {boolean} isRoot
 * @returns {Finding[]}
 */
export function oneInstall(list, hasApt, isRoot) {
  const withPackages = list.filter(({ packages }) => packages !== undefined);
  if (withPackages.length < 2) return withPackages;
  const packages = withPackages.flatMap((finding) => finding.packages ?? []);
  return [
    {
      ...withPackages[0],
      problem: withPackages.map(({ problem }) => problem).join("; "),
      remedy: hasApt ? aptCommand(packages, isRoot) : `install what Debian calls ${packages.join(" ")}`,
      packages,
    },
  ];
}

/**
 * What is needed to build first and by itself: when the rest cannot be had, the build still can.
 *
 * @param {readonly Finding[]} list
 */
async function installPackages(list) {
  for (const severity of /** @type {const} */ (["install", "lab"])) {
    const packages = list
      .filter((finding) => finding.severity === severity)
      .flatMap((finding) => finding.packages ?? []);
    if (packages.length > 0) await aptInstall(packages);
  }
}

/** @param {string[]} packages */
async function aptInstall(packages) {
  const label = `installing ${packages.join(" ")}`;
  process.stderr.write(`tools-kvm: ${label}\n`);
  const install = () =>
    runQuietly(label, [...aptCommand(packages, true).split(" "), "-o", "DPkg::Lock::Timeout=300"], {
      env: APT_ENVIRONMENT,
    });
  let outcome = hasPackageLists() ? await install() : undefined;
  if (outcome?.status !== 0) {
    // Lists that are missing, or so old that they name what the archive no longer has.
    const update = await runQuietly("apt-get update", ["apt-get", "update"], { env: APT_ENVIRONMENT });
    outcome = update.status === 0 ? await install() : update;
  }
  if (outcome.status !== 0)
    process.stderr.write(`${outcome.output}tools-kvm: apt-get ended with status ${outcome.status}\n`);
}

function hasPackageLists() {
  const directory = "/var/lib/apt/lists";
  return existsSync(directory) && readdirSync(directory).some((name) => /_Packages(\.\w+)?$/.test(name));
}

async function installNodeModules() {
  if (nodeModulesState(ROOT) === "ready") return;
  process.stderr.write("tools-kvm: npm ci\n");
  const outcome = await runQuietly("npm ci", [...npm(), "ci", "--include=dev", "--no-audit", "--no-fund"], {
    cwd: ROOT,
  });
  if (outcome.status === 0) return;
  process.stderr.write(`${outcome.output}tools-kvm: npm ci ended with status ${outcome.status}\n`);
  process.exit(1);
}

/** The npm that started us, if one did. */
function npm() {
  const script = process.env.npm_execpath;
  return script?.endsWith(".js") && existsSync(script) ? [process.execPath, script] : ["npm"];
}

/**
 * How nx is called: without npx, which costs a second and the npm of the day.
 *
 * @param {...string} words
 */
export function nx(...words) {
  return [process.execPath, join(ROOT, "node_modules/.bin/nx"), ...words];
}

/** Builds everything, native code included; what has not changed comes out of nx's cache. Does not return when it fails. */
export async function build() {
  const outcome = await runQuietly("building", nx("run-many", "-t", "build", "--output-style=static"), { cwd: ROOT });
  if (outcome.status === 0) return;
  const tasks = /** @type {Map<string, string>} */ (new Map());
  const stream = new TaskStream((task) => tasks.set(`${task.project}:${task.target}`, readableOutput(task)));
  for (const line of outcome.output.split("\n")) stream.push(line);
  stream.end();
  const failed = [...tasks].filter(([name]) => stream.failed.has(name));
  // Without such a task it was nx itself that failed, and all it said may matter.
  process.stderr.write(failed.length > 0 ? failed.map(([, output]) => output).join("\n") : outcome.output);
  process.stderr.write(`tools-kvm: the build failed: ${[...stream.failed].join(", ")}\n`);
  process.exit(1);
}
