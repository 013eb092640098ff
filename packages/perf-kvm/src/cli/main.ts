/** The `perf-kvm` command: what it can do, and nothing of how. */
import { Command, CommanderError } from "commander";
import { EXIT, exitCodeOf } from "./errors.js";

/** Which machines, which vCPUs, which exits, by what: of every command that looks at running machines. */
function watchOptions(command: Command): Command {
  return command
    .option("--vm <name|pid>", "only this machine")
    .option("--pid <pid>", "only the machine of this process")
    .option("--vcpu <list>", "only these vCPUs: 0,2-3")
    .option("--filter <text>", "only rows with this text in reason, detail, device, machine, guest function or source")
    .option("--event <kind>", "only exits by such an access: exit (all), mmio, ioport, msr; chosen at capture")
    .option("--duration-over <us>", "only exits that lasted at least so many microseconds")
    .option("--source <list>", "only these sources: tracepoints, ledger, stats, instructions (comma-separated)");
}

/** Names for a guest's addresses: of every command that shows some. */
function guestOptions(command: Command): Command {
  return command
    .option("--guest-kallsyms <file>", "names for the guest's functions: a copy of its /proc/kallsyms")
    .option("--guest-vmlinux <file>", "or its kernel with symbols; both, where the kernel chose its address (KASLR)")
    .option("--guest-modules <file>", "a copy of its /proc/modules, which tells in which module an address is");
}

function program(): Command {
  const perfKvm = new Command("perf-kvm")
    .description("See why a guest leaves, how long it stays away, and whose code it waits for.")
    .version(__VERSION__, "-V, --version")
    .helpCommand(false)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(`perf-kvm: ${oneLine(text)}`) })
    .addHelpText(
      "after",
      "\nExamples:\n  perf-kvm top\n  perf-kvm top --vm demo --json --duration 10\n  perf-kvm report -i perf.data\n  perf-kvm explain npf",
    );

  guestOptions(watchOptions(perfKvm.command("top").description("live table of exits over all VMs of this host")))
    .option("--interval <seconds>", "time between two frames", "1")
    .option("--duration <seconds>", "end after this long and print the total")
    .option("--count <n>", "end after this many reports")
    .option("--json", "one JSON object a frame, one a line")
    .addHelpText(
      "after",
      `
Keys: q quit, < and > choose the column to sort by, f filter, p freeze, t total, c other columns, 1 to 6 by reason, detail,
vCPU, machine, device or guest instruction, Enter into a row and Backspace out of it, arrows choose a row, h help.
TIME is the part of all exits' time that this kind accounts for, without what a halted vCPU only waited; AVG and P99 are
the time away from the guest (from kvm_exit to kvm_entry); HANDLER is the mean time in the VMM's device, from the exit
ledger. What this host cannot tell is shown as -. The line time: says where the vCPUs' time went, ~ before rough parts.

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
    .option("-e, --event <list>", "what to record: exits, cpu-clock, cycles (comma-separated)", "exits")
    .option("-F, --frequency <hz>", "samples a second of each vCPU's time", "999")
    .addHelpText(
      "after",
      `
cpu-clock and cycles sample where the vCPUs are, in the guest or in the host; report shows the guest's functions.

Examples:
  perf-kvm record --vm demo --duration 10 && perf-kvm report
  perf-kvm record --vm demo -e exits,cpu-clock --duration 10 && perf-kvm report --guest-kallsyms kallsyms.txt
  perf-kvm record -o exits.data && perf script -i exits.data`,
    )
    .action(async (options) => {
      process.exitCode = await (await import("./record.js")).record(options);
    });

  perfKvm
    .command("diff")
    .description("what has changed from one recording to another, kind of exit by kind of exit")
    .argument("<before>", "a recording; - is standard input")
    .argument("<after>", "another")
    .option("--by <what>", "a row for each reason, detail or vcpu", "detail")
    .option("--json", "one JSON object")
    .option("--csv", "comma-separated values")
    .addHelpText(
      "after",
      `
The largest change of the time that the guest was kept away comes first. AWAY/s is that change: time away in each second.

Examples:
  perf-kvm diff before.data after.data
  perf-kvm diff --by reason before.data after.data --json | jq '.rows[0]'`,
    )
    .action(async (before, after, options) => {
      process.exitCode = await (await import("./diff.js")).diff(before, after, options);
    });

  guestOptions(
    perfKvm
      .command("report")
      .description("table of the exits in a recording of perf or of perf-kvm record")
      .option("-i, --input <file>", "the recording; - is standard input", "perf.data")
      .option("--by <what>", "a row for each reason, detail or vcpu", "detail"),
  )
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

  guestOptions(
    perfKvm
      .command("export")
      .description("a recording in another format: for flame graphs, viewers, databases and monitoring")
      .argument("[file]", "the recording; - is standard input", "perf.data")
      .requiredOption("--to <format>", "firefox, speedscope, folded, pprof, csv, openmetrics or json")
      .option("-o, --output <file>", "write to this file; else to stdout")
      .option("--value <what>", "what folded and pprof show first: time (away from the guest) or count", "time"),
  )
    .addHelpText(
      "after",
      `
firefox     exits as markers on a track a vCPU, samples of the guest beside them, for profiler.firefox.com
speedscope  each vCPU's exits in time, for speedscope.app
folded      stacks of machine, vCPU, reason and detail, for flamegraph.pl and its like
pprof       the same, for go tool pprof
csv         a line an exit
openmetrics counters and histograms, for Prometheus
json        one object with every exit

Examples:
  perf-kvm export --to firefox -o exits.json && echo "load exits.json at https://profiler.firefox.com"
  perf-kvm export --to folded exits.data | flamegraph.pl --countname ns > exits.svg
  perf-kvm export --to csv exits.data | sqlite3 exits.db '.import --csv /dev/stdin exits'`,
    )
    .action(async (file, options) => {
      process.exitCode = await (await import("./export.js")).exportRecording(file, options);
    });

  watchOptions(
    perfKvm
      .command("serve")
      .description("the exits of running VMs as metrics, for Prometheus to scrape")
      .requiredOption("--prometheus <[address]:port>", "where to listen; on the loopback when no address is given"),
  )
    .addHelpText(
      "after",
      `
Counters and histograms count from its start. A machine that has ended is told of for five minutes more. Who asks for
OpenMetrics gets it, others Prometheus's text format.

Examples:
  perf-kvm serve --prometheus :9400
  perf-kvm serve --prometheus 0.0.0.0:9400 --vm demo
  curl -s http://127.0.0.1:9400/metrics | grep kvm_exits_total`,
    )
    .action(async (options) => {
      process.exitCode = await (await import("./serve.js")).serve(options);
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

  watchOptions(
    perfKvm
      .command("stat")
      .description("one table of exits at the end: of a stretch of time, or of the time that a command takes")
      .argument("[command...]", "measure until it ends, and end with its status; after --"),
  )
    .option("--duration <seconds>", "end after this long; else by Ctrl-C, or with the command")
    .option("--interval-print <ms>", "print what happened in each such interval, too")
    .option("--csv", "comma-separated values")
    .option("--json", "one object a line; the total is the last")
    .option("-o, --output <file>", "write to this file; else to stdout, with a command to stderr")
    .addHelpText(
      "after",
      `
TIME is the part of all exits' time, without what a halted vCPU only waited. MIN to MAX are times away from the guest, from kvm_exit
to kvm_entry, where OF says away; where it says handler, they are the VMM's own, from its exit ledger. Without a command
the status is 0, with --duration over the command is ended by SIGTERM.

Examples:
  perf-kvm stat --vm demo --duration 10
  perf-kvm stat --csv -o exits.csv -- sleep 5
  perf-kvm stat -- vmm run --append "run=exits pio 100000; poweroff"
  perf-kvm stat --json --interval-print 500 | jq -c 'select(.kind == "total") | .rows[]'`,
    )
    .action(async (command, options) => {
      process.exitCode = await (await import("./stat.js")).stat(command, options);
    });

  perfKvm
    .command("list")
    .description("the VMs on this host, whoever runs them, and what can be seen of each")
    .option("--json", "one object with all, vCPU by vCPU")
    .addHelpText(
      "after",
      `
SEEN BY names the sources that \`top\` and \`stat\` have for a VM: the exit ledger that vmm keeps, KVM's counters, the
kernel's tracepoints. VCPU THREADS are vCPU:thread; ? is a vCPU whose thread nothing tells.

Examples:
  perf-kvm list
  perf-kvm list --json | jq -r '.machines[] | [.pid, .name, .vmm] | @tsv'`,
    )
    .action(async (options) => {
      process.exitCode = (await import("./list.js")).list(options);
    });

  perfKvm
    .command("doctor")
    .description("what this host lets the profiler see, and what mends the rest")
    .option("--json", "one object with all findings")
    .addHelpText(
      "after",
      `
It runs a guest of a few bytes to see which tracepoints fire. The status is 0 when \`top\` can trace here, 1 when not.

Examples:
  perf-kvm doctor
  perf-kvm doctor --json | jq -r '.findings[] | select(.verdict != "ok") | .mend'`,
    )
    .action(async (options) => {
      process.exitCode = (await import("./doctor.js")).doctor(options);
    });

  perfKvm
    .command("explain")
    .description("what an exit reason means, what usually causes it, and what to try")
    .argument("[reason]", "name (npf, SVM_EXIT_NPF, EPT_VIOLATION, KVM_EXIT_IO) or number; without one, all are listed")
    .option("--json", "an array with one object a reason")
    .addHelpText(
      "after",
      `
A name that both processors use (cpuid), or a number, shows every reason of that name or number. A list that is read
by a program has its fields apart by tabs: kind, number, name, gist.

Examples:
  perf-kvm explain EPT_VIOLATION
  perf-kvm explain 0x400
  perf-kvm explain | grep -i mmio
  complete -W "$(perf-kvm explain | cut -f3)" perf-kvm`,
    )
    .action(async (reason, options) => {
      process.exitCode = (await import("./explain.js")).explain(reason, options);
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
  return exitCodeOf(error);
}

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // Nobody reads any more (`perf-kvm top | head -1`): not worth a word.
  process.exit(error.code === "EPIPE" ? EXIT.OK : EXIT.FAILURE);
});

await main();
