/** From the command to the first program of Debian's Linux: the same kernel, initramfs and command line on both sides. */
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildInitramfs, chooseKernel } from "tools-lab";
import { type Bench, type BenchContext, BenchError, type Case } from "../bench.js";
import { missingQemu, QEMU, VMM } from "../commands.js";
import type { Programs, Running } from "../programs.js";

const READY = "the first program runs";
const KERNEL_COMMAND_LINE = "console=ttyS0 quiet";
const MEMORY = "256M";
const TIMEOUT_MS = 120_000;

export const linux: Bench = {
  name: "linux",
  summary: "vmm run of Debian's kernel until its first program runs, against QEMU's microvm and q35; in the lab",
  runs: { full: 5, quick: 1 },
  cases(context) {
    if (!["kvm_amd", "kvm_intel"].some((name) => existsSync(`/sys/module/${name}`))) {
      throw new BenchError("no kvm-amd or kvm-intel here, and Linux needs one: npm run lab -- npm run bench -- linux");
    }
    const kernel = cloudKernel() ?? chooseKernel({}).path;
    const initramfs = join(context.programs.folder, "initramfs.cpio");
    writeFileSync(initramfs, buildInitramfs({ script: `echo "${READY}"` }));
    return [
      linuxCase("to /init, peer on microvm", "microvm,isa-serial=on", { kernel, initramfs }, context),
      linuxCase("to /init, peer on q35", "q35", { kernel, initramfs }, context),
    ];
  },
};

/** The newest of Debian's kernels for virtual machines, which is what a guest of this kind would have. */
function cloudKernel(): string | undefined {
  const names = readdirSync("/boot").filter((name) => /^vmlinuz-.*-cloud-/.test(name));
  const newest = names.sort((a, b) => a.localeCompare(b, "en", { numeric: true })).at(-1);
  return newest === undefined ? undefined : join("/boot", newest);
}

interface Boot {
  readonly kernel: string;
  readonly initramfs: string;
}

function linuxCase(name: string, machine: string, { kernel, initramfs }: Boot, { programs }: BenchContext): Case {
  const ours = [
    ...[process.execPath, VMM, "run", "--memory", MEMORY, "--kernel", kernel, "--initrd", initramfs],
    ...["--append", KERNEL_COMMAND_LINE],
  ];
  const theirs = [
    ...[QEMU, "-M", machine, "-enable-kvm", "-cpu", "host", "-m", MEMORY, "-nodefaults", "-no-user-config"],
    ...["-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", kernel, "-initrd", initramfs],
    ...["-append", KERNEL_COMMAND_LINE],
  ];
  const peer = { name: `qemu-system-x86_64 -M ${machine} -enable-kvm`, measure: () => untilReady(programs, theirs) };
  return { name, unit: "ms", ours: () => untilReady(programs, ours), peer: missingQemu() ?? peer };
}

/** Milliseconds from the start of a machine until its guest says that it runs. */
async function untilReady(programs: Programs, command: readonly string[]): Promise<number> {
  const startedMs = performance.now();
  const machine = programs.start(command);
  try {
    await said(machine, READY);
    return performance.now() - startedMs;
  } finally {
    await programs.stop(machine);
  }
}

function said(machine: Running, text: string): Promise<void> {
  let output = "";
  return new Promise((resolve, reject) => {
    const fail = (): void => reject(new BenchError(`${machine.spawnargs[0]}: no first program: ${output.slice(-500)}`));
    const timeout = setTimeout(fail, TIMEOUT_MS);
    machine.once("error", fail).once("close", fail);
    machine.stderr.on("data", (bytes) => {
      output += bytes;
    });
    machine.stdout.on("data", (bytes) => {
      output += bytes;
      if (!output.includes(text)) return;
      clearTimeout(timeout);
      resolve();
    });
  });
}
