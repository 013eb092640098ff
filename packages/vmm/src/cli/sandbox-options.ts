/** `vmm sandbox`'s command line, checked. */
import { existsSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { kvmKind } from "../machine/host.js";
import type { ConsoleSpec, NetSpec, ShareSpec } from "../machine/spec.js";
import { MAXIMUM_VIRTIO_DEVICES } from "../machine/virtio.js";
import { hostNetwork } from "../sandbox/host-network.js";
import { sandboxInitramfs } from "../sandbox/initramfs.js";
import type { SandboxNetwork, SandboxShare } from "../sandbox/job.js";
import { hostKernel, KernelChoiceError, kernelAt, type SandboxKernel } from "../sandbox/kernel.js";
import { CliError, whyNot } from "./errors.js";
import { planRun, type RunPlan } from "./run-options.js";

export interface SandboxOptions {
  readonly cpus?: string;
  readonly memory: string;
  readonly share: readonly string[];
  readonly net: "user" | "none";
  readonly kernel?: string;
  readonly name?: string;
  readonly ro?: boolean;
}

/** The network, and what the streams of the command are on. */
const OTHER_DEVICES = 2;
/** The streams of the command are on it. */
export const SANDBOX_PORT = "sandbox";
/** It comes first: the guest finds it by its device's number (sandbox-init/line.c). */
const LINE: ConsoleSpec = { kind: "console", ports: [{ name: SANDBOX_PORT }] };

/** As `docker run` has it: the sandbox itself did not come about. */
export const SANDBOX_FAILED = 125;

/** Variables that mean the same in there, and every LC_ one. */
const KEPT_VARIABLES = [
  ...["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "COLORTERM"],
  ...["NO_COLOR", "FORCE_COLOR", "CI", "EDITOR", "PAGER"],
];

/** Nothing but what is wrong at the level of an emergency, and a panic ends the machine at once. */
const COMMAND_LINE = "console=ttyS0 quiet loglevel=1 panic=-1 cryptomgr.notests rdinit=/init";

export interface SandboxHost {
  readonly maxCpus: number;
  /** Both ends of the command are the user's terminal. */
  readonly hasTerminal: boolean;
  /** One line, while the machine runs. */
  readonly onLog: (message: string) => void;
}

/** Throws CliError, and then nothing is left running. */
export async function planSandbox(
  command: readonly string[],
  options: SandboxOptions,
  { maxCpus, hasTerminal, onLog }: SandboxHost,
): Promise<{ plan: RunPlan; close(): void }> {
  const folder = process.cwd();
  const shares = planShares(options, folder);
  if (kvmKind() === "pvm")
    throw new CliError(
      "sandbox: Linux does not boot on this host's KVM (kvm-pvm); vmm doctor says more",
      SANDBOX_FAILED,
    );
  const withNetwork = options.net === "user";
  const kernel = chooseKernel(options.kernel, withNetwork);
  const network = withNetwork ? networkOfHost() : undefined;
  const initramfs = archive(kernel, {
    ...{ command: command.length > 0 ? command : [process.env.SHELL ?? "/bin/sh"], folder, network },
    shares: shares.map(({ share }) => share),
    environment: environment(),
    ...identity(),
    ...(hasTerminal && { terminal: { columns: process.stdout.columns, rows: process.stdout.rows } }),
  });
  const nets = withNetwork ? await startNetwork(options.name ?? "", onLog) : { specs: [], close: () => {} };
  try {
    const plan = planRun(
      {
        ...{ kernel: kernel.path, initrd: [], append: COMMAND_LINE, disk: [], net: [], share: [], port: [] },
        ...{
          virtioRings: "split",
          bus: "mmio",
          cpus: options.cpus ?? String(Math.min(availableParallelism(), maxCpus)),
        },
        ...{ memory: options.memory, serial: "null", debugConsole: "null", irqchip: "kernel", reboot: false },
        ...(options.name !== undefined && { name: options.name }),
      },
      maxCpus,
      [LINE, ...shares.map(({ spec }) => spec), ...nets.specs],
    );
    return {
      plan: {
        ...plan,
        kernel: `sandbox: ${command.join(" ") || "shell"}`,
        source: { ...plan.source, modules: [{ bytes: initramfs, commandLine: "sandbox" }] },
      },
      close: () => nets.close(),
    };
  } catch (error) {
    nets.close();
    throw error;
  }
}

function chooseKernel(path: string | undefined, withNetwork: boolean): SandboxKernel {
  try {
    return path === undefined ? hostKernel(withNetwork) : kernelAt(path, withNetwork);
  } catch (error) {
    if (error instanceof KernelChoiceError) {
      throw path === undefined
        ? new CliError(`sandbox: ${error.message}`, SANDBOX_FAILED)
        : new CliError(`--kernel ${error.message}`);
    }
    if (path !== undefined && error instanceof Error && "code" in error)
      throw new CliError(`--kernel ${path}: ${whyNot(error)}`);
    throw error;
  }
}

function archive(kernel: SandboxKernel, job: Parameters<typeof sandboxInitramfs>[1]): Buffer {
  try {
    return sandboxInitramfs(kernel.modules, job);
  } catch (error) {
    if (error instanceof RangeError) throw new CliError(`sandbox: ${error.message}`);
    if (error instanceof Error && "code" in error && kernel.modules.some((path) => !existsSync(path)))
      throw new CliError(`sandbox: ${error.message}`, SANDBOX_FAILED);
    throw error;
  }
}

interface PlannedShare {
  readonly spec: ShareSpec;
  readonly share: SandboxShare;
}

/** The host's root, which cannot be written; the current folder; and what else was asked for. */
function planShares({ share, ro = false }: SandboxOptions, folder: string): PlannedShare[] {
  const planned = [planShare("root", "/", "/", true)];
  // What is the root itself stays as the root is.
  if (folder !== "/") planned.push(planShare("folder", folder, folder, ro));
  share.forEach((text, index) => {
    planned.push(namedShare(text, index));
  });
  if (planned.length > MAXIMUM_VIRTIO_DEVICES - OTHER_DEVICES)
    throw new CliError(`--share: ${share.length} folders, and a machine has no room for so many`);
  return planned;
}

function planShare(tag: string, path: string, at: string, readonly: boolean): PlannedShare {
  return { spec: { kind: "share", tag, path, readonly }, share: { tag, path: at, readonly } };
}

/** `DIR[,ro]`, or `PATH=DIR[,ro]` for a folder that is elsewhere in there. */
function namedShare(text: string, index: number): PlannedShare {
  const refuse = (why: string): never => {
    throw new CliError(`--share ${text}: ${why}`);
  };
  const readonly = text.endsWith(",ro");
  const place = readonly ? text.slice(0, -",ro".length) : text;
  const [, at, from] = /^(\/[^=]*)=(.+)$/s.exec(place) ?? [undefined, undefined, place];
  if (from === "") refuse("DIR[,ro] or PATH=DIR[,ro]");
  const path = resolve(from!);
  try {
    if (!statSync(path).isDirectory()) refuse(`${path}: not a folder`);
  } catch (error) {
    if (error instanceof CliError) throw error;
    refuse(`${path}: ${whyNot(error)}`);
  }
  const target = resolve(at ?? path);
  if (target === "/") refuse("the root is there already, and cannot be written");
  return planShare(`share${index}`, path, target, readonly);
}

function environment(): Record<string, string> {
  const kept = Object.entries(process.env).filter(([name]) => KEPT_VARIABLES.includes(name) || name.startsWith("LC_"));
  return Object.fromEntries(kept as [string, string][]);
}

function identity(): { user: number; group: number; groups: number[] } {
  return { user: process.geteuid!(), group: process.getegid!(), groups: process.getgroups!() };
}

function networkOfHost(): SandboxNetwork {
  const network = hostNetwork();
  if (network !== undefined) return network;
  throw new CliError("--net user: this host has no IPv4 gateway to pass the guest's traffic to", SANDBOX_FAILED);
}

async function startNetwork(
  name: string,
  onLog: (message: string) => void,
): Promise<{ specs: readonly NetSpec[]; close(): void }> {
  const { planNets } = await import("./net-option.js");
  return planNets(["user"], name, onLog);
}
