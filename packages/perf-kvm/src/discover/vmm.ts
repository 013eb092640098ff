/** Which VMM a process is, and what its command line tells of the machine. Command lines are anybody's text. */
import { basename } from "node:path";
import { printable } from "./proc.js";

export interface VmmFacts {
  /** The VMM's own name; of one that is not known, its program's. */
  readonly vmm: string;
  /** The machine's name, when the command line has one. */
  readonly name: string | undefined;
  /** Guest memory as the command line has it; undefined when it does not say. */
  readonly memoryBytes: number | undefined;
}

interface KnownVmm {
  readonly vmm: string;
  readonly program: RegExp;
  readonly nameOptions: readonly string[];
  readonly memoryOptions: readonly string[];
  /** What a memory size without a unit counts. */
  readonly memoryUnit: number;
}

const MIB = 2 ** 20;

const KNOWN: readonly KnownVmm[] = [
  { vmm: "vmm", program: /^vmm(\.js)?$/, nameOptions: ["--name"], memoryOptions: ["--memory"], memoryUnit: MIB },
  {
    vmm: "QEMU",
    program: /^(qemu-system-\w+|qemu-kvm|kvm)$/,
    nameOptions: ["-name", "--name"],
    memoryOptions: ["-m", "--m"],
    memoryUnit: MIB,
  },
  { vmm: "Firecracker", program: /^firecracker/, nameOptions: ["--id"], memoryOptions: [], memoryUnit: MIB },
  {
    vmm: "cloud-hypervisor",
    program: /^cloud-hypervisor/,
    nameOptions: [],
    memoryOptions: ["--memory"],
    memoryUnit: 1,
  },
  { vmm: "crosvm", program: /^crosvm/, nameOptions: ["--name"], memoryOptions: ["-m", "--mem"], memoryUnit: MIB },
  {
    vmm: "kvmtool",
    program: /^(lkvm|kvmtool|vm)(-static)?$/,
    nameOptions: ["-n", "--name"],
    memoryOptions: ["-m", "--mem"],
    memoryUnit: MIB,
  },
];

/** Longer ones are cut: a command line may have megabytes. */
const MAXIMUM_ARGUMENTS = 4096;
const MAXIMUM_NAME = 64;

/**
 * @param exe the process's program, as /proc/PID/exe links to it; undefined when that may not be read
 * @param commandLine /proc/PID/cmdline: arguments, each with a NUL behind it
 */
export function vmmFacts(exe: string | undefined, commandLine: string): VmmFacts {
  const args = commandLine.split("\0", MAXIMUM_ARGUMENTS).map(printable);
  const program = basename((exe ?? args[0] ?? "").replace(/ \(deleted\)$/, ""));
  // An interpreter's program is its first argument that is no option: `node vmm.js run`.
  const script = /^(node|nodejs)$/.test(program)
    ? basename(args.slice(1).find((arg) => !arg.startsWith("-")) ?? "")
    : "";
  const known = KNOWN.find((each) => each.program.test(program) || each.program.test(script));
  if (known === undefined) return { vmm: printable(script || program), name: undefined, memoryBytes: undefined };
  const name = optionOf(args, known.nameOptions);
  const memory = optionOf(args, known.memoryOptions);
  return {
    vmm: known.vmm,
    name: name === undefined ? undefined : keyed(name, "guest").slice(0, MAXIMUM_NAME) || undefined,
    memoryBytes: memory === undefined ? undefined : sizeOf(keyed(memory, "size"), known.memoryUnit),
  };
}

/** The value of the last of these options: `--name x` or `--name=x`. */
function optionOf(args: readonly string[], options: readonly string[]): string | undefined {
  let value: string | undefined;
  args.forEach((arg, index) => {
    const option = options.find((each) => arg === each || arg.startsWith(`${each}=`));
    if (option !== undefined) value = arg === option ? args[index + 1] : arg.slice(option.length + 1);
  });
  return value;
}

/** Of a list `first,key=value,...`, the value of `key`, or the first when that has no key. */
function keyed(list: string, key: string): string {
  const [first, ...rest] = list.split(",") as [string, ...string[]];
  const named = [first, ...rest].find((each) => each.startsWith(`${key}=`));
  return named === undefined ? (first.includes("=") ? "" : first) : named.slice(key.length + 1);
}

const UNITS: Readonly<Record<string, number>> = { B: 1, K: 2 ** 10, M: MIB, G: 2 ** 30, T: 2 ** 40 };

function sizeOf(text: string, unit: number): number | undefined {
  const match = /^(\d{1,15})([BKMGT])?(?:i?B)?$/i.exec(text);
  if (match === null) return undefined;
  const bytes = Number(match[1]) * (match[2] === undefined ? unit : UNITS[match[2].toUpperCase()]!);
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined;
}
