/** The `perf-kvm` command: what it can do, and nothing of how. */
import { Command, CommanderError } from "commander";
import { CliError, EXIT } from "./errors.js";

function program(): Command {
  const perfKvm = new Command("perf-kvm")
    .description("See why a guest leaves, how long it stays away, and whose code it waits for.")
    .version(__VERSION__, "-V, --version")
    .helpCommand(false)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(`perf-kvm: ${oneLine(text)}`) })
    .addHelpText(
      "after",
      "\nExamples:\n  perf-kvm top\n  perf-kvm top --vm demo --json --duration 10\n  perf-kvm report -i perf.data",
    );

  perfKvm
    .command("top")
    .description("live table of exits over all VMs of this host")
    .option("--vm <name|pid>", "only this machine")
    .option("--interval <seconds>", "time between two frames", "1")
    .option("--duration <seconds>", "end after this long and print the total")
    .option("--source <list>", "only these sources: tracepoints, ledger, stats (comma-separated)")
    .option("--json", "one JSON object a frame, one a line")
    .addHelpText(
      "after",
      `
Keys: q quit, < and > choose the column to sort by, f filter, p freeze, h help, arrows scroll.
TIME is the part of all time this kind of exit accounts for; AVG and P99 are the time away from the guest (from
kvm_exit to kvm_entry); HANDLER is the mean time in the VMM's device, from the exit ledger. What this host cannot
tell is shown as -.

Examples:
  perf-kvm top
  perf-kvm top --vm demo
  perf-kvm top --duration 5 | cat
  perf-kvm top --vm demo --json --duration 10 > exits.jsonl`,
    )
    .action(async (options) => {
      process.exitCode = await (await import("./top.js")).top(options);
    });

  perfKvm
    .command("record")
    .description("record the exits of running VMs into a file, for report, script and perf itself")
    .option("-o, --output <file>", "the recording", "perf.data")
    .option("--vm <name|pid>", "only this machine")
    .option("--duration <seconds>", "end after this long; without it, Ctrl-C does")
    .addHelpText(
      "after",
      `
Examples:
  perf-kvm record --vm demo --duration 10 && perf-kvm report
  perf-kvm record -o exits.data && perf script -i exits.data`,
    )
    .action(async (options) => {
      process.exitCode = await (await import("./record.js")).record(options);
    });

  perfKvm
    .command("report")
    .description("table of the exits in a recording of perf or of perf-kvm record")
    .option("-i, --input <file>", "the recording; - is standard input", "perf.data")
    .option("--by <what>", "a row for each reason, detail or vcpu", "detail")
    .option("--json", "one JSON object")
    .option("--csv", "comma-separated values")
    .addHelpText(
      "after",
      `
Counts and times are those of \`perf kvm stat report\`: an exit lasts until its vCPU is entered again.

Examples:
  perf-kvm report
  perf-kvm report -i exits.data --by vcpu
  perf record -e kvm:kvm_exit -e kvm:kvm_entry -a -o - sleep 5 | perf-kvm report -i - --csv`,
    )
    .action(async (options) => {
      process.exitCode = await (await import("./report.js")).report(options);
    });

  perfKvm
    .command("script")
    .description("a recording as text, one line an event")
    .option("-i, --input <file>", "the recording; - is standard input", "perf.data")
    .addHelpText(
      "after",
      `
A line begins as those of \`perf script --ns\`: thread, CPU, time and event; then the event's fields by name.

Examples:
  perf-kvm script -i exits.data | grep kvm_exit | head`,
    )
    .action(async (options) => {
      process.exitCode = await (await import("./script.js")).script(options);
    });

  return perfKvm;
}

/** Commander puts its advice ("Did you mean ...?") on a line of its own. */
function oneLine(text: string): string {
  return `${text
    .replace(/^error: /, "")
    .trim()
    .replace(/\s*\n\s*/g, " ")}\n`;
}

async function main(): Promise<void> {
  try {
    const perfKvm = program();
    if (process.argv.length <= 2) {
      perfKvm.outputHelp();
      process.exitCode = EXIT.USAGE;
      return;
    }
    await perfKvm.parseAsync();
  } catch (error) {
    process.exitCode = report(error);
  }
}

function report(error: unknown): number {
  // Commander has printed its own one line; help and version are no failures.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.OK : EXIT.USAGE;
  process.stderr.write(`perf-kvm: ${error instanceof Error ? error.message : String(error)}\n`);
  return error instanceof CliError ? error.exitCode : EXIT.FAILURE;
}

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // Nobody reads any more (`perf-kvm top | head -1`): not worth a word.
  process.exit(error.code === "EPIPE" ? EXIT.OK : EXIT.FAILURE);
});

await main();
