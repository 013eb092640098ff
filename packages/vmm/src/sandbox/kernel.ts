/** Finds the kernel that a sandbox boots, and the modules it needs to reach the host's root. */
import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { type KernelModule, parseModuleIndex, resolveModules } from "@tools-kvm/firmware";

export interface SandboxKernel {
  readonly path: string;
  /** Absolute paths of the modules' files, in the order of insertion. */
  readonly modules: readonly string[];
}

/** There is no kernel that fits: one line that says what to do. */
export class KernelChoiceError extends Error {
  override readonly name = "KernelChoiceError";
}

const REQUIRED = ["virtio_mmio", "virtio_console", "9pnet_virtio", "9p", "overlay"];
const FOR_NETWORK = "virtio_net";

/** Where to look; the root of a file system. */
export interface KernelPlaces {
  readonly root: string;
  /** `uname -r` of the host. */
  readonly running: string;
}

const HOST: KernelPlaces = { root: "/", running: release() };

/** The kernel at `path`, with the modules of its version. Throws KernelChoiceError. */
export function kernelAt(path: string, network: boolean, places: KernelPlaces = HOST): SandboxKernel {
  const version = versionOf(path);
  if (version === undefined)
    throw new KernelChoiceError(`${path}: a bzImage is needed, which says the version of its modules`);
  return { path, modules: modulesOf(version, network, places) };
}

/** The host's: the one that runs if it can be had, else the newest that fits. Throws KernelChoiceError. */
export function hostKernel(network: boolean, places: KernelPlaces = HOST): SandboxKernel {
  let problem: KernelChoiceError | undefined;
  for (const version of versions(places)) {
    try {
      return { path: fileOf(version, places), modules: modulesOf(version, network, places) };
    } catch (error) {
      if (!(error instanceof KernelChoiceError)) throw error;
      problem ??= error;
    }
  }
  throw (
    problem ??
    new KernelChoiceError(
      "no kernel in /boot has its modules in /lib/modules; install one, or name one by --kernel FILE",
    )
  );
}

/** Those that have modules: the running one first, then the newest. */
function versions({ root, running }: KernelPlaces): string[] {
  const order = new Intl.Collator("en", { numeric: true });
  return listIfThere(join(root, "lib/modules"))
    .filter((version) => candidates(version, root).some((path) => existsSync(path)))
    .sort((a, b) => Number(b === running) - Number(a === running) || order.compare(b, a));
}

/** Debian has it in /boot, Fedora and Arch beside the modules. */
function candidates(version: string, root: string): string[] {
  return [join(root, "boot", `vmlinuz-${version}`), join(root, "lib/modules", version, "vmlinuz")];
}

function fileOf(version: string, { root }: KernelPlaces): string {
  const there = candidates(version, root).filter((path) => existsSync(path));
  const readable = there.find(isReadable);
  if (readable !== undefined) return readable;
  throw new KernelChoiceError(
    `${there[0]} cannot be read; sudo chmod a+r ${there[0]}, or name another by --kernel FILE`,
  );
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

function modulesOf(version: string, network: boolean, { root }: KernelPlaces): string[] {
  const directory = join(root, "lib/modules", version);
  const wanted = network ? [...REQUIRED, FOR_NETWORK] : REQUIRED;
  const { order, missing } = resolveModules(readIndex(directory), wanted);
  if (missing.length > 0) {
    throw new KernelChoiceError(
      `the kernel ${version} has no module ${missing.join(", ")} in ${directory}; name another kernel by --kernel FILE`,
    );
  }
  return order.map(({ path }: KernelModule) => join(directory, path));
}

function readIndex(directory: string): ReturnType<typeof parseModuleIndex> {
  try {
    return parseModuleIndex(
      readFileSync(join(directory, "modules.dep"), "utf8"),
      readFileSync(join(directory, "modules.builtin"), "utf8"),
    );
  } catch {
    throw new KernelChoiceError(`${directory} has no modules.dep and modules.builtin; sudo depmod makes the first`);
  }
}

const HEADER_BYTES = 0x202 + 14;
const MOST_VERSION_BYTES = 256;

/** As a bzImage's header says it (Linux, Documentation/arch/x86/boot.rst, kernel_version). */
export function versionOf(path: string): string | undefined {
  const file = readFileSync(path);
  if (file.length < HEADER_BYTES || file.toString("latin1", 0x202, 0x206) !== "HdrS") return undefined;
  const at = file.readUInt16LE(0x20e) + 0x200;
  const text = file.toString("latin1", at, at + MOST_VERSION_BYTES);
  return /^([\w.+~-]+)[ \0]/.exec(text)?.[1];
}

function listIfThere(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
