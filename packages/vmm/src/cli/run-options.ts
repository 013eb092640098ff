/** `vmm run`'s command line, checked: every fault is one line that names the option and the value. */
import { readFileSync, statSync } from "node:fs";
import { totalmem } from "node:os";
import { basename } from "node:path";
import { embeddedGuestPath } from "@tools-kvm/firmware";
import { BootError } from "../boot/errors.js";
import { parseKernel } from "../boot/kernel-image.js";
import { type Firmware, flashBase } from "../machine/firmware-rom.js";
import type { BootSource } from "../machine/machine.js";
import {
  type BalloonSpec,
  formatSize,
  isMachineName,
  MAXIMUM_CPUS,
  type MachineSpec,
  MINIMUM_MEMORY_BYTES,
  PAGE_BYTES,
  parseSize,
  type VirtioSpec,
} from "../machine/spec.js";
import { checkBalloon } from "./balloon-option.js";
import { CliError, whyNot } from "./errors.js";
import { firmware } from "./firmware-option.js";
import { type PortPlan, portPlans } from "./port-option.js";
import { type Sink, sink } from "./sink-option.js";

/** As commander hands them over. */
export interface RunOptions {
  readonly kernel?: string;
  readonly initrd: readonly string[];
  readonly append?: string;
  readonly disk: readonly string[];
  readonly net: readonly string[];
  readonly share: readonly string[];
  readonly rng?: boolean;
  readonly balloon?: string;
  readonly vsock?: string;
  readonly console?: string;
  readonly port: readonly string[];
  readonly virtioRings: "split" | "packed";
  readonly bus: "mmio" | "pci";
  readonly firmware?: string;
  readonly firmwareVars?: string;
  readonly cpus: string;
  readonly memory: string;
  readonly name?: string;
  readonly serial?: string;
  readonly debugConsole: string;
  readonly irqchip: MachineSpec["irqchip"];
  readonly reboot: boolean;
  readonly config?: string;
  readonly exits?: boolean;
  readonly json?: boolean;
}

export interface RunPlan {
  readonly spec: MachineSpec;
  readonly source: BootSource;
  /** The kernel as `vmm ps` shows it. */
  readonly kernel: string;
  readonly serial: Sink;
  /** The guest's terminal on virtio, if it has one. */
  readonly console: Sink | undefined;
  readonly ports: readonly PortPlan[];
  readonly debugConsole: Sink;
}

/** Linux is silent unless it is told where its console is; the last one is /dev/console. */
function linuxCommandLine(serial: Sink, console: Sink | undefined): string {
  if (console === undefined) return "console=ttyS0";
  return serial.kind === "null" ? "console=hvc0" : "console=ttyS0 console=hvc0";
}

/** `maxCpus` is the host's KVM limit. Throws CliError. */
export function planRun(options: RunOptions, maxCpus: number, virtio: readonly VirtioSpec[]): RunPlan {
  const spec: MachineSpec = {
    name: machineName(options.name),
    cpus: cpuCount(options.cpus, maxCpus),
    memoryBytes: memorySize(options.memory),
    irqchip: options.irqchip,
    virtio,
    virtioRings: options.virtioRings,
    bus: options.bus,
    testDevices: true,
  };
  const balloon = virtio.find(({ kind }) => kind === "balloon");
  if (balloon !== undefined) checkBalloon(balloon as BalloonSpec, spec.memoryBytes);
  const { serial, console } = consoles(options);
  const image = kernelImage(options.kernel ?? embeddedGuestPath());
  const source = {
    image,
    isFallback: options.kernel === undefined,
    commandLine: options.append ?? (image.linux === undefined ? "" : linuxCommandLine(serial, console)),
    modules: options.initrd.map((path) => ({ bytes: readFile("--initrd", path), commandLine: basename(path) })),
  };
  const rom = firmwareOf(options, spec, source);
  return {
    spec: {
      ...spec,
      chipset: rom?.chipset,
      flash: rom?.variables && { base: flashBase(rom), sizeBytes: rom.variables.bytes.length },
    },
    source: { ...source, firmware: rom },
    kernel: options.kernel ?? "embedded guest",
    serial,
    console,
    ports: portPlans(options.port),
    debugConsole: sink(`--debug-console ${options.debugConsole}`, options.debugConsole, ["stderr", "file", "null"]),
  };
}

/** One of them can have the terminal: the serial port, unless it is the console. */
function consoles(options: RunOptions): Pick<RunPlan, "serial" | "console"> {
  const { console: text } = options;
  const console =
    text === undefined ? undefined : sink(`--console ${text}`, text, ["stdio", "file", "socket", "pty", "null"]);
  const hasTerminal = console?.kind === "stdio";
  const where = options.serial ?? (hasTerminal ? "null" : "stdio");
  const serial = sink(`--serial ${where}`, where, ["stdio", "file", "pty", "null"]);
  if (hasTerminal && serial.kind === "stdio") throw new CliError("--serial stdio: --console has the terminal");
  return { serial, console };
}

function firmwareOf(options: RunOptions, spec: MachineSpec, source: BootSource): Firmware | undefined {
  if (options.firmware !== undefined) return firmware(options, spec, source);
  if (options.firmwareVars === undefined) return undefined;
  throw new CliError(`--firmware-vars ${options.firmwareVars}: they are a firmware's; say which by --firmware`);
}

function machineName(name = `vm-${process.pid}`): string {
  if (isMachineName(name)) return name;
  throw new CliError(
    `--name ${name}: a name is 1 to 63 letters, digits, '.', '_' or '-', and begins with a letter or digit`,
  );
}

function cpuCount(text: string, maxCpus: number): number {
  const cpus = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  const most = Math.min(maxCpus, MAXIMUM_CPUS);
  if (cpus >= 1 && cpus <= most) return cpus;
  throw new CliError(`--cpus ${text}: a whole number from 1 to ${most}`);
}

function memorySize(text: string): number {
  const sizeBytes = parseSize(text);
  if (sizeBytes === undefined) throw new CliError(`--memory ${text}: not a size such as 512M or 2G`);
  if (sizeBytes < MINIMUM_MEMORY_BYTES) {
    throw new CliError(`--memory ${text}: a machine needs ${formatSize(MINIMUM_MEMORY_BYTES)} or more`);
  }
  if (sizeBytes % PAGE_BYTES !== 0) throw new CliError(`--memory ${text}: not a whole number of 4 KiB pages`);
  if (sizeBytes > totalmem()) throw new CliError(`--memory ${text}: this host has ${formatSize(totalmem())}`);
  return sizeBytes;
}

function kernelImage(path: string): BootSource["image"] {
  const bytes = readFile("--kernel", path);
  try {
    return parseKernel(bytes, path);
  } catch (error) {
    if (error instanceof BootError) throw new CliError(`--kernel ${error.message}`);
    throw error;
  }
}

function readFile(option: string, path: string): Uint8Array {
  try {
    if (!statSync(path).isFile()) throw new CliError(`${option} ${path}: not a file`);
    return readFileSync(path);
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(`${option} ${path}: ${whyNot(error)}`);
  }
}
