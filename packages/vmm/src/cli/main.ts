/** The `vmm` command: what it can do, and nothing of how. Each command's code is loaded when it is called. */
import "./early.js";
import { availableParallelism } from "node:os";
import { Command, CommanderError, Option } from "commander";
import { CliError, EXIT } from "./errors.js";
import type { RunOptions } from "./run-options.js";

/** An option whose values come as a list, empty without it. */
function repeatable(flags: string, description: string): Option {
  return new Option(flags, description)
    .argParser((value: string, previous: string[]) => [...previous, value])
    .default([], "none");
}

/** What makes a machine. */
function machineOptions(command: Command): Command {
  return command
    .option("--kernel <file>", "Linux bzImage or vmlinux, multiboot or PVH image (default: the embedded guest)")
    .addOption(repeatable("--initrd <file>", "initial ramdisk or boot module; may be repeated"))
    .option("--append <text>", "kernel command line (default: none; for Linux, console=ttyS0)")
    .addOption(
      repeatable(
        "--disk <image>",
        "FILE[,OPTION]...: format=raw|qcow2, ro, cache=writeback|direct, serial=TEXT, queues=N, bps=SIZE, iops=N, burst=SECONDS; may be repeated",
      ),
    )
    .addOption(
      repeatable(
        "--net <link>",
        "user[,forward=HOST:GUEST]..., tap,name=NAME or none; mac=ADDRESS, bps=SIZE, pps=N, burst=SECONDS behind commas; may be repeated",
      ),
    )
    .addOption(repeatable("--share <folder>", "TAG=DIR[,ro]: a folder that the guest mounts by 9P; may be repeated"))
    .option("--rng", "a device with random bytes from the host")
    .addOption(
      new Option(
        "--balloon [size]",
        "memory that the guest gives back when asked (vmm balloon), so much from the start",
      ).preset("0"),
    )
    .option("--vsock <where>", "cid=N,uds=PATH: streams between programs of the guest and of the host")
    .option(
      "--firmware <which>",
      "start in firmware: rom, seabios, ovmf or FILE (default: the kernel is entered at once)",
    )
    .option("--firmware-vars <file>", "where firmware keeps its variables; a new file begins with ovmf's own")
    .addOption(
      new Option("--virtio-rings <format>", "queues of virtio devices").choices(["split", "packed"]).default("split"),
    )
    .addOption(
      new Option("--bus <which>", "what virtio devices stand on; pci is for kernels without virtio-mmio, with MSI-X")
        .choices(["mmio", "pci"])
        .default("mmio"),
    )
    .option("--cpus <n>", "vCPUs", "1")
    .option("--memory <size>", "guest RAM: 512M, 2G; a bare number is MiB", "128M")
    .option("--name <name>", "name to find it by (default: vm-PID)")
    .option(
      "--serial <where>",
      "serial port: stdio, file:PATH, pty or null (default: stdio, unless the console has the terminal)",
    )
    .option("--console <where>", "a terminal on virtio (hvc0): stdio, pty, file:PATH, socket:PATH or null")
    .addOption(
      repeatable(
        "--port <stream>",
        "NAME=socket:PATH, NAME=file:PATH or NAME=pty: /dev/virtio-ports/NAME in the guest; may be repeated",
      ),
    )
    .option("--debug-console <where>", "port 0x402: stderr, file:PATH or null", "null")
    .addOption(new Option("--irqchip <where>", "interrupt controllers").choices(["kernel", "split"]).default("kernel"))
    .option("--no-reboot", "end when the guest resets instead of booting again")
    .option(
      "--config <file>",
      "a machine file, as vmm config prints it; options given besides count, or add to its lists",
    );
}

/** Whether an option is on the command line, rather than its default. */
function givenIn(command: Command): (key: string) => boolean {
  return (key) => command.getOptionValueSource(key) === "cli";
}

/** Without a machine file its code is not loaded. */
async function withMachineFile(options: RunOptions, command: Command): Promise<RunOptions> {
  if (options.config === undefined) return options;
  return (await import("./config.js")).withMachineFile(options, givenIn(command));
}

function program(): Command {
  const vmm = new Command("vmm")
    .description("A clean and minimal machine for KVM.")
    .version(__VERSION__, "-V, --version")
    .helpCommand(false)
    .showHelpAfterError(false)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(oneLine(text)) })
    .addHelpText(
      "after",
      `
Examples:
  vmm run                                  the embedded guest, live on this terminal
  vmm run --kernel x.flat --cpus 4         a multiboot or PVH kernel
  vmm run --kernel bzImage --initrd i.cpio --memory 512M
  vmm run --append "run=selftest; poweroff" --exits
  vmm run --config machine.json            a machine that vmm config has written down
  vmm ps                                   what is running
  vmm attach NAME                          its console
  vmm sandbox -- make test                 a command in a machine, on this host's files
  vmm doctor                               what this host's KVM can do

Exit codes: the guest's own; 1 when it crashed or the host cannot run it; 2 for a wrong command line.`,
    );

  machineOptions(vmm.command("run"))
    .description("run a machine until its guest powers off")
    .option("--exits", "print the exit table at the end, on stderr")
    .option("--json", "print events as JSON, one object a line, on stdout")
    .addHelpText(
      "after",
      `
On a terminal: Ctrl-A x ends the machine, Ctrl-A c opens the monitor, Ctrl-A h says so.

Examples:
  vmm run
  vmm run --cpus 2 --append "run=smp; exits pio 100000 all"
  vmm run --kernel guest.elf --initrd env --serial file:console.log --name test1
  vmm run --kernel vmlinuz --disk data.img,bps=50M,iops=2000 --net user,bps=10M
  vmm run --kernel bzImage --disk root.qcow2 --bus pci
  vmm run --kernel bzImage --initrd i.cpio --console stdio --port agent=socket:agent.sock
  vmm run --firmware ovmf --disk debian.qcow2 --bus pci --memory 1G`,
    )
    .action(async (options, command) =>
      finish(await (await import("./run.js")).run(await withMachineFile(options, command))),
    );

  machineOptions(vmm.command("config"))
    .description("print what a command line of vmm run means, as a machine file for --config")
    .option("--schema", "print the JSON Schema of machine files instead")
    .addHelpText(
      "after",
      `
Examples:
  vmm config --disk root.qcow2 --net user --memory 1G > machine.json
  vmm run --config machine.json
  vmm config --config machine.json --cpus 4
  vmm config --schema`,
    )
    .action(async (options, command) => finish((await import("./config.js")).config(options, givenIn(command))));

  vmm
    .command("sandbox")
    .description(
      "run a command in a machine of its own, on this host's files, of which it can change the current folder's",
    )
    .argument("[command...]", "the command and its arguments, behind -- (default: your shell)")
    .option("--cpus <n>", "vCPUs (default: as many as the host has)")
    .option("--memory <size>", "guest RAM, which also holds what is written outside of shared folders", "1G")
    .addOption(
      repeatable("--share <folder>", "DIR[,ro] or PATH=DIR[,ro]: a folder that may be written; may be repeated"),
    )
    .option("--ro", "the current folder cannot be written either")
    .addOption(new Option("--net <link>", "the way out").choices(["user", "none"]).default("none"))
    .option("--kernel <file>", "a bzImage with its modules in /lib/modules (default: the host's, from /boot)")
    .option("--name <name>", "name to find it by (default: vm-PID)")
    .addHelpText(
      "after",
      `
The host's root is there, read-only, under a layer in memory; the current folder is the host's own. The terminal, pipes,
signals and the exit status are the command's. On a terminal, Ctrl-] three times ends it all.

Exit codes: the command's own; 128 + N when signal N ended it; 125 when there is no sandbox; 2 for a wrong command line.

Examples:
  vmm sandbox                              your shell, in here
  vmm sandbox -- uname -a
  vmm sandbox --net user --memory 2G -- npm install
  vmm sandbox --share ~/src,ro --ro -- make -C ~/src -n`,
    )
    .action(async (command, options) => finish(await (await import("./sandbox.js")).sandbox(command, options)));

  vmm
    .command("ps")
    .description("list the running machines")
    .option("--json", "as JSON")
    .action(async (options) => finish(await (await import("./ps.js")).ps(options)));

  vmm
    .command("stop")
    .description("end running machines: by their power button, then the hard way")
    .argument("<name...>", "as vmm ps shows it")
    .option("--grace <seconds>", "how long a guest that heard its power button may take", "10")
    .option("--now", "do not press the power button")
    .addHelpText("after", "\nExamples:\n  vmm stop test1\n  vmm stop --grace 60 db1 db2\n  vmm stop --now test1")
    .action(async (names, options) => finish(await (await import("./stop.js")).stop(names, options)));

  vmm
    .command("attach")
    .description("join the console of a running machine, or its serial port; Ctrl-A x leaves it running")
    .argument("<name>", "as vmm ps shows it")
    .action(async (name) => finish(await (await import("./attach.js")).attachConsole(name)));

  vmm
    .command("inspect")
    .description("show the devices of a running machine, register by register")
    .argument("<name>", "as vmm ps shows it")
    .argument("[device]", "only this device")
    .option("--json", "as JSON")
    .addHelpText("after", "\nExamples:\n  vmm inspect test1\n  vmm inspect test1 serial16550 --json")
    .action(async (name, device, options) =>
      finish(await (await import("./inspect.js")).inspect(name, device, options)),
    );

  vmm
    .command("balloon")
    .description("say how much memory a running guest has given back, or ask it to give back so much")
    .argument("<name>", "as vmm ps shows it")
    .argument("[size]", "what the guest is to give back in all: 512M, 2G; 0 lets it have everything again")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  vmm run --name db1 --memory 2G --balloon\n  vmm balloon db1 1G\n  vmm balloon db1",
    )
    .action(async (name, size, options) => finish(await (await import("./balloon.js")).balloon(name, size, options)));

  vmm
    .command("unit-test")
    .description("run kvm-unit-tests images and report in KTAP")
    .argument("<path...>", "a folder with unittests.cfg, or images")
    .option("--config <file>", "list of tests (default: PATH/unittests.cfg or PATH/x86/unittests.cfg)")
    .option("--filter <regex>", "only tests whose name matches")
    .addOption(repeatable("--group <name>", "only tests of this group; may be repeated"))
    .option("--append <text>", "command line, instead of the tests' own")
    .option("--cpus <n>", "vCPUs of an image given by itself", "1")
    .option("--jobs <n>", "tests at once (default: one a CPU)", String(availableParallelism()))
    .option("--timeout <seconds>", "for tests that do not say how long they may take", "90")
    .option("--list", "print the tests and why some would be skipped, and run none")
    .option("--json", "print the results as JSON")
    .addHelpText(
      "after",
      `
Exit codes: 0 none failed, 1 some did, 4 all were skipped, 130 interrupted.

Examples:
  vmm unit-test ~/kvm-unit-tests/x86
  vmm unit-test ~/kvm-unit-tests/x86 --filter '^apic' --jobs 2
  vmm unit-test x86/msr.flat --append "" --cpus 2`,
    )
    .action(async (paths, options) => finish(await (await import("./unit-test.js")).unitTest(paths, options)));

  vmm
    .command("doctor")
    .description("say what this host's KVM can do, what it gets wrong, and what to do about it")
    .option("--json", "as JSON")
    .action(async (options) => finish(await (await import("./doctor.js")).doctor(options)));

  return vmm;
}

/** Commander puts its suggestions on a line of their own. */
function oneLine(text: string): string {
  return `vmm: ${text
    .replace(/^error: /, "")
    .trimEnd()
    .replaceAll("\n", " ")}\n`;
}

/** Ends the process as soon as what was printed is out. */
function finish(exitCode: number): void {
  process.exitCode = exitCode;
}

async function main(): Promise<void> {
  try {
    const vmm = program();
    if (process.argv.length <= 2) {
      vmm.outputHelp();
      finish(EXIT.USAGE);
      return;
    }
    await vmm.parseAsync();
  } catch (error) {
    finish(report(error));
  }
}

function report(error: unknown): number {
  // Commander has printed its own one line; help and version are no failures.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.OK : EXIT.USAGE;
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`vmm: ${message}\n`);
  return error instanceof CliError ? error.exitCode : EXIT.FAILURE;
}

for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    // Nobody reads any more (`vmm ps | head -1`): not worth a word.
    if (error.code !== "EPIPE") throw error;
  });
}

await main();
