/**
 * The emulated machine: how QEMU is called, and the streams that lead into it.
 *
 * Every stream is one end of a socket pair that QEMU inherits by number: no path in the file system, so nothing to collide
 * for two labs at a time and nothing to remove afterwards.
 */
import { type ChildProcess, spawn } from "node:child_process";
import type { Socket } from "node:net";
import { LabError } from "./errors.js";
import { findProgram } from "./programs.js";
import { mendedModuleFolder } from "./qemu-module.js";

const PROGRAM = "qemu-system-x86_64";

/**
 * virtio-serial port numbers, as guest/init.sh and guest/agent.sh know them. `control` is the last on purpose: the ports
 * are connected in this order, so that when it works, all do.
 */
const PORTS = { job: 1, stdin: 2, stdout: 3, stderr: 4, control: 5 } as const;
type PortName = keyof typeof PORTS;
type ChannelName = PortName | "console" | "terminal";

/** File descriptors 0 to 2 are QEMU's own. */
const FIRST_CHANNEL_FD = 3;
const CHANNELS: readonly ChannelName[] = ["console", "job", "stdin", "stdout", "stderr", "control", "terminal"];

export interface MachineSpec {
  kernelPath: string;
  initramfsPath: string;
  cpus: number;
  memoryMiB: number;
  /** Added to the kernel's command line. */
  append: string;
  /** A folder of the host that the lab may write to. */
  out: string | undefined;
}

export interface Machine {
  process: ChildProcess;
  channels: Record<ChannelName, Socket>;
  /** What QEMU itself had to say. */
  stderr: () => string;
}

/**
 * - `nokaslr`, `cryptomgr.notests`: half a second each of an emulated start.
 * - `panic=-1`: restart at once, which `-no-reboot` turns into the end of QEMU.
 * - `highres=off nohz=off`: a local APIC's timer that ticks by itself. QEMU 7.2 changes a CPU's pending interrupts without a lock
 *   around each VMRUN and #VMEXIT, so that one that arrives in that moment may be forgotten (docs/lab.md). Were it the tick
 *   that has to set the next one, the CPU would have had its last; this way the next tick brings back what was forgotten.
 */
const COMMAND_LINE = "console=ttyS0 loglevel=5 panic=-1 nokaslr cryptomgr.notests highres=off nohz=off";

export function qemuArguments(spec: MachineSpec): string[] {
  const channel = (name: ChannelName) => [
    "-chardev",
    `socket,id=${name},fd=${FIRST_CHANNEL_FD + CHANNELS.indexOf(name)}`,
  ];
  const share = (tag: string, path: string, more: string) => [
    "-virtfs",
    `local,path=${path.replaceAll(",", ",,")},mount_tag=${tag},security_model=none,multidevs=remap${more}`,
  ];
  return [
    ...["-name", "tools-kvm-lab", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "EPYC,+svm,+npt"],
    ...[
      "-smp",
      `cpus=${spec.cpus},sockets=1,cores=${spec.cpus},threads=1`,
      "-m",
      `${spec.memoryMiB}M`,
      "-rtc",
      "base=utc",
    ],
    ...["-kernel", spec.kernelPath, "-initrd", spec.initramfsPath, "-append", `${COMMAND_LINE} ${spec.append}`.trim()],
    ...share("host", "/", ",readonly=on"),
    ...(spec.out === undefined ? [] : share("out", spec.out, "")),
    ...CHANNELS.flatMap(channel),
    ...["-serial", "chardev:console", "-device", "virtio-serial-pci"],
    ...["-device", "virtconsole,nr=0,chardev=terminal"],
    ...Object.entries(PORTS).flatMap(([name, nr]) => [
      "-device",
      `virtserialport,nr=${nr},chardev=${name},name=lab.${name}`,
    ]),
  ];
}

/** @throws LabError without QEMU. */
export function findQemu(): string {
  const qemu = findProgram(PROGRAM);
  if (qemu === undefined) throw new LabError("QEMU is not installed", "apt-get install qemu-system-x86");
  return qemu;
}

export function startMachine(spec: MachineSpec): Machine {
  const command = [findQemu(), ...qemuArguments(spec)];
  // The kernel ends QEMU when this process ends, however that comes about.
  const setpriv = findProgram("setpriv");
  if (setpriv !== undefined) command.unshift(setpriv, "--pdeathsig", "KILL", "--");
  const modules = mendedModuleFolder();
  const child = spawn(command[0]!, command.slice(1), {
    stdio: ["ignore", "ignore", "pipe", ...CHANNELS.map(() => "pipe" as const)],
    // Its own process group: Ctrl-C on the terminal is for this process to answer.
    detached: true,
    env: modules === undefined ? process.env : { ...process.env, QEMU_MODULE_DIR: modules },
  });
  let stderr = "";
  child.stdio[2]?.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const channels = Object.fromEntries(
    CHANNELS.map((name, index) => [name, child.stdio[FIRST_CHANNEL_FD + index]]),
  ) as Machine["channels"];
  // A stream that breaks means that QEMU ended, and that is noticed by its exit.
  for (const socket of Object.values(channels)) socket.on("error", () => {});
  return { process: child, channels, stderr: () => withoutCpuWarnings(stderr) };
}

/** QEMU names each feature of an EPYC that its emulation has not got. Known, and no news to anybody. */
function withoutCpuWarnings(text: string): string {
  return text
    .split("\n")
    .filter((line) => line !== "" && !line.includes("TCG doesn't support requested feature"))
    .join("\n");
}
