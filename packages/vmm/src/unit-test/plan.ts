/** From a test of the configuration to a machine: what can be had is set up, what cannot is a reason to skip it. */
import { parseSize } from "../machine/spec.js";
import type { TestEntry } from "./config.js";
import { shellWords } from "./words.js";

export interface TestHost {
  /** The host's CPUs: `$MAX_SMP`. */
  readonly maxSmp: number;
  /** vCPUs that a machine can have. */
  readonly maxCpus: number;
  readonly arch: string;
  /** Groups that are wanted; none for all that are not `nodefault`. */
  readonly groups: readonly string[];
  /** The content of a file of the host, or undefined. */
  readFile(path: string): string | undefined;
}

/** A machine to run, as `vmm run` takes it. */
export interface TestPlan {
  readonly name: string;
  readonly file: string;
  readonly cpus: number;
  /** A size as `--memory` takes it; undefined for the default. */
  readonly memory?: string;
  readonly commandLine: string;
  readonly irqchip: "kernel" | "split";
  /** Seconds that the test asks for itself. */
  readonly timeoutS?: number;
}

export interface Skip {
  readonly name: string;
  readonly skip: string;
}

export type Planned = TestPlan | Skip;

/** Options of QEMU that change nothing here, by how many words they take after themselves. */
const WITHOUT_EFFECT = new Map([
  ["-no-reboot", 0],
  ["-nographic", 0],
  ["-nodefaults", 0],
  ["-enable-kvm", 0],
  ["-net", 1],
  ["-vnc", 1],
  ["-display", 1],
  ["-name", 1],
]);
/** CPU models that give the guest what the host's KVM supports, as this machine always does. */
const HOST_CPUS = ["host", "max"];
/** What `-machine` may say: this machine is one of these, or does not care. */
const MACHINE_WORDS = /^(?:type=)?(?:pc|q35|microvm)$|^(?:accel=kvm|vmport=o(?:ff|n)|kernel_irqchip=(?:on|split))$/;

/** What to do with a test; undefined when it is not among those that are wanted. */
export function planTest(entry: TestEntry, host: TestHost): Planned | undefined {
  const { name } = entry;
  const wanted =
    host.groups.length === 0
      ? !entry.groups.includes("nodefault")
      : entry.groups.some((group) => host.groups.includes(group));
  if (!wanted) return undefined;
  const skip = reasonToSkip(entry, host);
  if (skip !== undefined) return { name, skip };
  const cpus = cpuCount(entry.smp, host.maxSmp);
  if (cpus === undefined) return { name, skip: `smp = ${entry.smp} is not understood` };
  if (cpus > host.maxCpus) return { name, skip: `needs ${cpus} CPUs, and this host's KVM gives ${host.maxCpus}` };
  const words = shellWords(entry.qemuParams);
  if (words === undefined) return { name, skip: "its parameters have a quote without an end" };
  const machine = machineOf(words);
  if ("unknown" in machine) return { name, skip: `needs QEMU's ${machine.unknown}` };
  const timeoutS = entry.timeout === undefined ? undefined : Number.parseFloat(entry.timeout);
  return {
    name,
    file: entry.file,
    cpus: machine.cpus ?? cpus,
    memory: machine.memory,
    commandLine:
      entry.testArgs === undefined
        ? (machine.append ?? "")
        : (shellWords(entry.testArgs) ?? [entry.testArgs]).join(" "),
    irqchip: machine.split ? "split" : "kernel",
    ...(timeoutS !== undefined && timeoutS > 0 ? { timeoutS } : {}),
  };
}

function reasonToSkip({ arch, accel, check = "" }: TestEntry, host: TestHost): string | undefined {
  if (arch !== undefined && arch !== "" && !arch.split(/\s+/).includes(host.arch)) return `is for ${arch}`;
  if (accel !== undefined && accel !== "" && accel !== "kvm") return `is for accelerator ${accel}`;
  for (const pair of check.split(/\s+/).filter(Boolean)) {
    const [path = "", value = ""] = pair.split("=");
    const found = host.readFile(path)?.trim();
    if (found !== value)
      return `needs ${path} to be ${value}, ${found === undefined ? "and it does not exist" : `not ${found.slice(0, 20)}`}`;
  }
  return undefined;
}

/** `4`, `$MAX_SMP`, or shell arithmetic in which a number limits it: `$(($MAX_SMP > 4 ? 4 : $MAX_SMP))`. */
export function cpuCount(text: string, maxSmp: number): number | undefined {
  if (/^\d+$/.test(text)) return Number(text) > 0 ? Number(text) : undefined;
  if (!/\$\{?MAX_SMP/.test(text)) return undefined;
  const numbers = [...text.matchAll(/\b\d+\b/g)].map(([digits]) => Number(digits)).filter((number) => number > 0);
  return Math.min(maxSmp, ...numbers);
}

interface Wanted {
  cpus?: number;
  memory?: string;
  append?: string;
  split?: boolean;
}

function machineOf(words: readonly string[]): Wanted | { readonly unknown: string } {
  const wanted: Wanted = {};
  for (let i = 0; i < words.length; i++) {
    const option = words[i]!.replace(/^--/, "-");
    const skipped = WITHOUT_EFFECT.get(option);
    if (skipped !== undefined) {
      i += skipped;
      continue;
    }
    const value = words[++i];
    if (value === undefined || !take(wanted, option, value))
      return { unknown: [option, value].filter(Boolean).join(" ") };
  }
  return wanted;
}

/** False for what this machine cannot do. */
function take(wanted: Wanted, option: string, value: string): boolean {
  switch (option) {
    case "-append":
      wanted.append = value;
      return true;
    case "-m":
      wanted.memory = value;
      return parseSize(value) !== undefined;
    case "-smp":
      wanted.cpus = Number(value);
      return /^[1-9]\d{0,3}$/.test(value);
    case "-cpu":
      return HOST_CPUS.includes(value);
    case "-M":
    case "-machine":
      wanted.split = value.split(",").includes("kernel_irqchip=split");
      return value.split(",").every((word) => MACHINE_WORDS.test(word));
    default:
      return false;
  }
}
