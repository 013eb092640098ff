/** The `bench` command: side-by-side benchmarks, one at a time. */
import { constants } from "node:os";
import { BenchError } from "./bench.js";
import { BENCHES } from "./benches/index.js";
import { type CommandLine, parseCommandLine, UsageError } from "./command-line.js";
import { Programs } from "./programs.js";
import { Progress } from "./progress.js";
import { jsonLine, notes, table } from "./report.js";
import { type Figure, runBench } from "./runner.js";

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

const LIST = BENCHES.map(({ name, summary }) => `  ${name.padEnd(10)}${summary}`).join("\n");
const HELP = `usage: npm run bench -- NAME [CASE] [--quick] [--json]

${LIST}

  CASE      only the cases whose name begins so
  --quick   fewer and shorter runs, under 30 s
  --json    one JSON object a figure, one a line: {bench, case, unit, ours, peer, ratio, runs}
  --help    this text

Every figure is the median of runs that alternate with the peer's. RATIO says how many times better than the peer it
is: larger is better, 1 is equal. docs/performance.md explains what is measured.

Examples:
  npm run bench -- exits
  npm run bench -- start --quick
  npm run bench -- perf-kvm start
  npm run -s bench -- memory --json | jq .ratio
`;

async function main(argv: readonly string[]): Promise<number> {
  const names = BENCHES.map(({ name }) => name);
  const line = parseCommandLine(argv, names);
  if (line.help) process.stdout.write(HELP);
  else if (line.bench === undefined) process.stdout.write(`${LIST}\n`);
  else await runOne(line, line.bench);
  return 0;
}

async function runOne({ quick, json, only }: CommandLine, name: string): Promise<void> {
  const bench = BENCHES.find((each) => each.name === name)!;
  const programs = new Programs();
  endBySignals(programs);
  const progress = new Progress();
  const figures: Figure[] = [];
  try {
    const onRound = (...round: Parameters<Progress["round"]>): void => progress.round(...round);
    for await (const figure of runBench(bench, { quick, programs }, onRound, only)) {
      progress.clear();
      figures.push(figure);
      if (json) process.stdout.write(`${jsonLine(figure)}\n`);
    }
  } finally {
    progress.clear();
    programs.close();
  }
  if (!json) process.stdout.write(`${table(figures)}\n`);
  for (const note of notes(figures)) process.stderr.write(`${note}\n`);
}

/** A signal, or a reader that went away, ends every program we have started and then us. */
function endBySignals(programs: Programs): void {
  const end = (signal: NodeJS.Signals): void => {
    programs.close();
    process.exit(128 + constants.signals[signal]);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => end(signal));
  process.stdout.on("error", () => end("SIGPIPE"));
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UsageError) && !(error instanceof BenchError)) throw error;
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = error instanceof UsageError ? EXIT_USAGE : EXIT_FAILURE;
}
