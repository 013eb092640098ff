/** The command line of `lab`. Its own options end where the command begins. */
import { LabError } from "./errors.js";

export interface CommandLine {
  mode: "run" | "suite" | "help";
  /** The command; or the names of the suite entries to run. */
  words: string[];
  cpus: number | undefined;
  memoryMiB: number | undefined;
  kernel: string | undefined;
  modules: string | undefined;
  append: string | undefined;
  out: string | undefined;
  timeoutMs: number | undefined;
  env: Record<string, string>;
  interactive: boolean;
  stdin: boolean;
  json: boolean;
  quiet: boolean;
  verbose: boolean;
}

export const HELP = `lab - runs a command of this tree in an emulated machine with a real kvm-amd

  npm run lab -- [OPTION]... COMMAND [ARGUMENT]...
  npm run lab                                       a shell, on a terminal
  npm run lab -- --suite [NAME]...                  the tests that npm test runs in the lab

The checkout and the rest of this host's files are at their usual paths; what is written there is gone afterwards, except in --out.
A COMMAND of one word is a line for the shell: npm run lab -- 'dmesg | tail'

  --cpus N              1 to 64, 2 unless told otherwise
  --memory SIZE         such as 512M or 4G, 2G unless told otherwise
  --kernel FILE         another kernel: a bzImage, or a vmlinux with a PVH entry
  --modules DIR         its modules: a folder with modules.dep, an INSTALL_MOD_PATH, or "none"
  --append TEXT         more for the kernel's command line, module parameters too: kvm_amd.npt=0
  --out DIR             what the command writes in this folder stays
  --timeout SECONDS     ends a command that runs longer, with status 124
  --env NAME[=VALUE]    an environment variable for the command
  -i, --interactive     gives the command a terminal; Ctrl-] ends the lab
  --no-stdin            the command reads /dev/null
  --json                prints one JSON object with status, output and times instead of the output
  -q, --quiet           no word of the lab's own unless something fails
  -v, --verbose         shows the kernel's console
  -h, --help

Status: the command's own; 2 when the lab cannot be set up, 124 after --timeout, 125 when kernel or QEMU ended early, 130 after Ctrl-C.
`;

const MAX_CPUS = 64;
const MIN_MEMORY_MIB = 256;
const MAX_MEMORY_MIB = 1024 * 1024;
/** What a timer of Node's takes. */
const MAX_TIMEOUT_S = 2_000_000;

/** @throws LabError naming the option and its value. */
export function parseCommandLine(argv: readonly string[]): CommandLine {
  const line: CommandLine = {
    mode: "run",
    words: [],
    cpus: undefined,
    memoryMiB: undefined,
    kernel: undefined,
    modules: undefined,
    append: undefined,
    out: undefined,
    timeoutMs: undefined,
    env: {},
    interactive: false,
    stdin: true,
    json: false,
    quiet: false,
    verbose: false,
  };
  const flags: Record<string, () => void> = {
    "--suite": () => {
      line.mode = "suite";
    },
    "--help": () => {
      line.mode = "help";
    },
    "--interactive": () => {
      line.interactive = true;
    },
    "--no-stdin": () => {
      line.stdin = false;
    },
    "--json": () => {
      line.json = true;
    },
    "--quiet": () => {
      line.quiet = true;
    },
    "--verbose": () => {
      line.verbose = true;
    },
  };
  const valued: Record<string, (value: string) => void> = {
    "--cpus": (value) => {
      line.cpus = wholeNumber("--cpus", value, 1, MAX_CPUS);
    },
    "--memory": (value) => {
      line.memoryMiB = parseMemory(value);
    },
    "--kernel": (value) => {
      line.kernel = value;
    },
    "--modules": (value) => {
      line.modules = value;
    },
    "--append": (value) => {
      line.append = value;
    },
    "--out": (value) => {
      line.out = value;
    },
    "--timeout": (value) => {
      line.timeoutMs = wholeNumber("--timeout", value, 1, MAX_TIMEOUT_S) * 1000;
    },
    "--env": (value) => {
      const [name, given] = parseEnv(value);
      line.env[name] = given;
    },
  };
  const short: Record<string, string> = { "-i": "--interactive", "-q": "--quiet", "-v": "--verbose", "-h": "--help" };

  let at = 0;
  for (; at < argv.length; at++) {
    const word = argv[at]!;
    if (word === "--") {
      at++;
      break;
    }
    if (!word.startsWith("-") || word === "-") break;
    const equals = word.startsWith("--") ? word.indexOf("=") : -1;
    const name = short[word] ?? (equals < 0 ? word : word.slice(0, equals));
    if (Object.hasOwn(flags, name)) {
      if (equals >= 0)
        throw new LabError(`${name} takes no value, but was given ${JSON.stringify(word.slice(equals + 1))}`);
      flags[name]!();
    } else if (Object.hasOwn(valued, name)) {
      const value = equals < 0 ? argv[++at] : word.slice(equals + 1);
      if (value === undefined || value === "") throw new LabError(`${name} needs a value`);
      valued[name]!(value);
    } else {
      throw new LabError(`there is no option ${word}`, "see --help");
    }
  }
  line.words = argv.slice(at);
  if (line.interactive && line.json) throw new LabError("--interactive and --json do not go together");
  return line;
}

function wholeNumber(option: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max)
    throw new LabError(`${option} ${text}`, `give a whole number from ${min} to ${max}`);
  return value;
}

function parseMemory(text: string): number {
  const match = /^(\d+)\s*(M|MiB|MB|G|GiB|GB)?$/i.exec(text);
  const unit = match?.[2]?.toUpperCase().startsWith("G") ? 1024 : 1;
  const memoryMiB = Number(match?.[1]) * unit;
  if (!(memoryMiB >= MIN_MEMORY_MIB && memoryMiB <= MAX_MEMORY_MIB)) {
    throw new LabError(`--memory ${text}`, `give a size from ${MIN_MEMORY_MIB}M to ${MAX_MEMORY_MIB / 1024}G`);
  }
  return memoryMiB;
}

/** `NAME=VALUE`, or `NAME` for the value it has here. */
function parseEnv(text: string): [name: string, value: string] {
  const match = /^([A-Za-z_]\w*)(?:=(.*))?$/s.exec(text);
  if (match === null) throw new LabError(`--env ${text}`, "give NAME or NAME=VALUE");
  const value = match[2] ?? process.env[match[1]!];
  if (value === undefined) throw new LabError(`--env ${text}`, "it has no value here, give NAME=VALUE");
  return [match[1]!, value];
}
