/** The `lab` command: its options to a run, its run to an exit status. */
import { LabError } from "./errors.js";
import type { TerminalSize } from "./job.js";
import { EXIT_CRASHED, EXIT_INTERRUPTED, type Lab, type LabOptions, type LabResult, startLab } from "./lab.js";
import { type CommandLine, HELP, parseCommandLine } from "./options.js";
import { showProgress } from "./progress.js";
import { runSuite } from "./suite.js";

const EXIT_USAGE = 2;
/** Ctrl-], which telnet and virsh have taught. */
const ESCAPE_BYTE = 0x1d;
const CTRL_C_BYTE = 0x03;

async function main(argv: string[]): Promise<number> {
  goToCaller();
  const line = parseCommandLine(argv);
  if (line.mode === "help") {
    process.stdout.write(HELP);
    return 0;
  }
  const abort = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => abort.abort());
  // Whoever read our output is gone: head, or a pager that was quit.
  process.stdout.on("error", () => abort.abort());
  if (line.mode === "suite") return runSuiteEntries(line, abort.signal);
  return runCommand(line, abort);
}

/** npm runs a script at the root of the checkout; paths on the command line, and the command, are meant from where npm was called. */
function goToCaller(): void {
  const { npm_lifecycle_event, INIT_CWD } = process.env;
  if (npm_lifecycle_event === "lab" && INIT_CWD !== undefined) process.chdir(INIT_CWD);
}

async function runSuiteEntries(line: CommandLine, signal: AbortSignal): Promise<number> {
  const { counts, interrupted } = await runSuite(line.words, baseOptions(line, signal), {
    line: (text) => process.stdout.write(`${text}\n`),
    progress: (label) => (line.quiet ? () => {} : showProgress(label)),
  });
  if (interrupted) return EXIT_INTERRUPTED;
  return counts.failed > 0 ? 1 : 0;
}

async function runCommand(line: CommandLine, abort: AbortController): Promise<number> {
  const onTerminal = process.stdin.isTTY && process.stdout.isTTY;
  const wantsShell = line.words.length === 0;
  if (wantsShell && !onTerminal) throw new LabError("no command was given", "npm run lab -- COMMAND, or see --help");
  const interactive = line.interactive || wantsShell;
  if (interactive && !onTerminal) throw new LabError("--interactive needs a terminal on stdin and stdout");

  let stopProgress = () => {};
  let up = false;
  const options: LabOptions = {
    ...baseOptions(line, abort.signal),
    command: wantsShell ? [process.env.SHELL ?? "/bin/sh", "-i"] : line.words,
    onUp: (bootMs, version) => {
      up = true;
      stopProgress();
      if (line.verbose) say(`Linux ${version ?? "(version unknown)"} up after ${(bootMs / 1000).toFixed(1)} s`);
      if (interactive && !line.quiet) say("Ctrl-] ends the lab");
    },
  };
  if (line.stdin) options.stdin = process.stdin;
  if (!line.json) Object.assign(options, { stdout: process.stdout, stderr: process.stderr });
  if (line.verbose) options.onConsole = (chunk) => process.stderr.write(chunk);
  if (interactive) options.terminal = terminalSize();

  if (!line.quiet) stopProgress = showProgress("lab: starting");
  let restoreTerminal = () => {};
  let lab: Lab;
  try {
    lab = startLab(options);
    if (interactive)
      restoreTerminal = takeTerminal(lab, (key) => key === ESCAPE_BYTE || (key === CTRL_C_BYTE && !up), abort);
    const result = await lab.result;
    return report(result, line);
  } finally {
    stopProgress();
    restoreTerminal();
  }
}

function baseOptions(line: CommandLine, signal: AbortSignal): LabOptions {
  const { cpus, memoryMiB, kernel, modules, append, out, timeoutMs, env } = line;
  const given = Object.entries({ cpus, memoryMiB, kernel, modules, append, out, timeoutMs }).filter(
    ([, value]) => value !== undefined,
  );
  return { command: [], env, signal, ...Object.fromEntries(given) };
}

function terminalSize(): TerminalSize {
  return { rows: process.stdout.rows ?? 24, columns: process.stdout.columns ?? 80 };
}

/** From here every key goes to the lab, but for those that end it. Returns what gives the terminal back. */
function takeTerminal(lab: Lab, endsLab: (key: number) => boolean, abort: AbortController): () => void {
  const onKey = (bytes: Buffer) => {
    if (bytes.some(endsLab)) abort.abort();
  };
  const onResize = () => lab.resize(terminalSize());
  process.stdin.setRawMode(true);
  process.stdin.on("data", onKey);
  process.stdout.on("resize", onResize);
  return () => {
    process.stdin.off("data", onKey);
    process.stdout.off("resize", onResize);
    process.stdin.setRawMode(false);
  };
}

function report(result: LabResult, line: CommandLine): number {
  if (line.json) process.stdout.write(`${JSON.stringify(asJson(result))}\n`);
  if (result.outcome === "timeout") say(`ended after --timeout ${line.timeoutMs! / 1000}`);
  if (result.exitCode === EXIT_CRASHED && result.outcome === "crashed") {
    say(`the lab ended before the command did; the last lines of its console:`);
    for (const text of result.consoleTail) process.stderr.write(`  ${text}\n`);
  } else if (result.complaints.length > 0 && !line.quiet && !line.verbose) {
    say("the lab's kernel complained while the command ran:");
    for (const text of result.complaints) process.stderr.write(`  ${text}\n`);
  }
  return result.exitCode;
}

function asJson(result: LabResult): object {
  return { ...result, stdout: result.stdout.toString(), stderr: result.stderr.toString() };
}

function say(text: string): void {
  process.stderr.write(`lab: ${text}\n`);
}

main(process.argv.slice(2))
  .catch((error: unknown) => {
    if (!(error instanceof LabError)) throw error;
    say(error.message);
    return EXIT_USAGE;
  })
  .then((status) => {
    // Standard input may still be open, and what was written has to leave first.
    process.stdout.write("", () => process.stderr.write("", () => process.exit(status)));
  });
