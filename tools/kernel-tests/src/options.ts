/** The command line of kernel-tests. */
import { parseArgs } from "node:util";

export const HELP = `npm run -s kernel-tests -- [OPTION]...

Tests what the kernel's KVM promises to user space, on this host or in the lab. Prints KTAP.

  --filter REGEX     only the tests whose theme/name matches
  --list             prints the tests with their promises, and runs none
  --json             one JSON document instead of KTAP
  --jobs N           processes at once (default: half the CPUs, at least 2)
  --timeout SECONDS  for each test (default: 5; in the lab 20)
  --lab              runs in the lab: a real kvm-amd, emulated by QEMU
  --kernel FILE      the lab's kernel: a bzImage or vmlinux
  --modules DIR      its modules: an INSTALL_MOD_PATH, or "none"
  --break NAME       spoils one answer of KVM on purpose, to see tests fail; --break list names them
  --help

Exit status: 0 all passed (skips and expected failures allowed), 1 something failed, 2 wrong usage, 4 everything was
skipped, 130 interrupted.

  npm run -s kernel-tests -- --filter '^dirty-log/'
  npm run -s kernel-tests -- --lab --kernel ~/linux/arch/x86/boot/bzImage --modules ~/linux/modroot
  npm run -s kernel-tests -- --json | jq '.tests[] | select(.verdict == "fail")'
`;

export class UsageError extends Error {}

export interface Options {
  readonly mode: "help" | "list" | "mutations" | "run";
  readonly filter: RegExp;
  readonly json: boolean;
  readonly jobs: number | undefined;
  readonly limitMs: number | undefined;
  readonly mutation: string;
  readonly lab: boolean;
  readonly kernel: string | undefined;
  readonly modules: string | undefined;
  /** The words to repeat inside the lab. */
  readonly inner: readonly string[];
}

const MAX_JOBS = 64;
const MAX_TIMEOUT_S = 3600;

export function parseOptions(argv: readonly string[]): Options {
  const { values } = parse(argv);
  if ((values.kernel !== undefined || values.modules !== undefined) && values.lab !== true)
    throw new UsageError("--kernel and --modules are the lab's: give --lab too");
  const mutation = values.break ?? "";
  const mode = values.help ? "help" : mutation === "list" ? "mutations" : values.list ? "list" : "run";
  const passedOn = (["filter", "jobs", "timeout", "break"] as const).flatMap((name) =>
    values[name] === undefined ? [] : [`--${name}=${values[name]}`],
  );
  return {
    mode,
    filter: regex(values.filter ?? ""),
    json: values.json ?? false,
    jobs: count(values.jobs, "--jobs", MAX_JOBS),
    limitMs: seconds(values.timeout),
    mutation,
    lab: values.lab ?? false,
    kernel: values.kernel,
    modules: values.modules,
    inner: [...passedOn, ...(values.json ? ["--json"] : [])],
  };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        filter: { type: "string" },
        list: { type: "boolean" },
        json: { type: "boolean" },
        jobs: { type: "string" },
        timeout: { type: "string" },
        lab: { type: "boolean" },
        kernel: { type: "string" },
        modules: { type: "string" },
        break: { type: "string" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function regex(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new UsageError(`--filter: ${(error as Error).message}`);
  }
}

function count(text: string | undefined, name: string, max: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > max)
    throw new UsageError(`${name} takes a number from 1 to ${max}`);
  return value;
}

function seconds(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!(value > 0 && value <= MAX_TIMEOUT_S)) throw new UsageError(`--timeout takes seconds up to ${MAX_TIMEOUT_S}`);
  return value * 1000;
}
