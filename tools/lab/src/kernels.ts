/** Finds the kernel and the modules a lab boots: the newest fitting one of this host, or the one that was asked for. */
import { accessSync, constants, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { type KernelModule, resolveModules } from "@tools-kvm/firmware";
import { decompress } from "./decompress.js";
import { LabError } from "./errors.js";
import { identifyKernel, moduleKernelVersion } from "./kernel-image.js";
import { readModuleIndex } from "./modules.js";

/** Without these the lab cannot reach its root and its host, or has no KVM to test. */
const REQUIRED_MODULES = ["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay", "kvm-amd"];
/** Loaded when the kernel has it. */
const OPTIONAL_MODULES = ["tun"];

const INSTALL_KERNEL = "apt-get install linux-image-amd64";

export interface LabKernel {
  /** The file as found: a bzImage or an ELF. */
  path: string;
  /** As `uname -r` will say; undefined when the file does not tell. */
  version: string | undefined;
  /** Holds modules.dep; undefined for a kernel that has everything built in. */
  modulesDirectory: string | undefined;
  /** In the order in which they are inserted. */
  modules: readonly KernelModule[];
  /** True for the host's own, whose modules the lab finds at their usual place. */
  isHosts: boolean;
}

export interface KernelChoice {
  kernel?: string | undefined;
  /** A directory with modules.dep, or one that has it at lib/modules/VERSION; "none" for a kernel without modules. */
  modules?: string | undefined;
}

/** @throws LabError when there is no kernel that fits. */
export function chooseKernel(choice: KernelChoice): LabKernel {
  if (choice.kernel === undefined) {
    if (choice.modules !== undefined) throw new LabError("--modules says nothing without --kernel", "give both");
    return newestHostKernel();
  }
  const path = resolve(choice.kernel);
  const version = readKernelVersion(path);
  const modulesDirectory = findModules(path, version, choice.modules);
  return withModules({ path, version, modulesDirectory, isHosts: modulesDirectory === `/lib/modules/${version}` });
}

/** The newest of /boot that has the modules the lab needs. Cloud kernels have no 9p and are passed over. */
function newestHostKernel(): LabKernel {
  const candidates = hostKernelVersions();
  let firstProblem: unknown;
  for (const version of candidates) {
    try {
      const path = `/boot/vmlinuz-${version}`;
      accessSync(path, constants.R_OK);
      return withModules({ path, version, modulesDirectory: `/lib/modules/${version}`, isHosts: true });
    } catch (error) {
      firstProblem ??= error;
    }
  }
  if (firstProblem instanceof LabError) throw firstProblem;
  if (firstProblem !== undefined)
    throw new LabError(`/boot/vmlinuz-${candidates[0]} cannot be read`, `chmod a+r /boot/vmlinuz-${candidates[0]}`);
  throw new LabError("there is no kernel in /boot with its modules in /lib/modules", INSTALL_KERNEL);
}

/** Versions that have both a vmlinuz in /boot and modules, newest first. */
export function hostKernelVersions(bootDirectory = "/boot", modulesRoot = "/lib/modules"): string[] {
  return listIfThere(bootDirectory)
    .filter((name) => name.startsWith("vmlinuz-"))
    .map((name) => name.slice("vmlinuz-".length))
    .filter((version) => existsSync(join(modulesRoot, version, "modules.dep")))
    .sort((a, b) => compareVersions(b, a));
}

/** 6.10 is newer than 6.9: numbers compare as numbers. */
export function compareVersions(a: string, b: string): number {
  return new Intl.Collator("en", { numeric: true }).compare(a, b);
}

function readKernelVersion(path: string): string | undefined {
  let file: Buffer;
  try {
    file = readFileSync(path);
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code === "ENOENT" ? "does not exist" : "cannot be read";
    throw new LabError(`--kernel ${path} ${reason}`);
  }
  const image = identifyKernel(file);
  if (image === undefined) throw new LabError(`--kernel ${path} is neither a bzImage nor a 64-bit ELF`);
  if (image.kind === "elf" && !image.hasPvhEntry) {
    throw new LabError(
      `--kernel ${path} has no PVH entry`,
      "build it with CONFIG_PVH=y, or give arch/x86/boot/bzImage",
    );
  }
  return image.version;
}

function findModules(kernelPath: string, version: string | undefined, asked: string | undefined): string | undefined {
  if (asked === "none") return undefined;
  if (asked === undefined) {
    if (version !== undefined && existsSync(`/lib/modules/${version}/modules.dep`)) return `/lib/modules/${version}`;
    throw new LabError(
      `--kernel ${kernelPath} (${version ?? "version unknown"}) has no modules in /lib/modules`,
      "give --modules DIR, or --modules none when everything is built in",
    );
  }
  const directory = resolve(asked);
  if (!isDirectory(directory)) throw new LabError(`--modules ${directory} is not a directory`);
  if (existsSync(join(directory, "modules.dep"))) return directory;
  const installed = join(directory, "lib/modules");
  const versions = listIfThere(installed).filter((name) => existsSync(join(installed, name, "modules.dep")));
  const match = versions.find((name) => name === version) ?? (versions.length === 1 ? versions[0] : undefined);
  if (match === undefined) {
    throw new LabError(
      `--modules ${directory} holds no modules.dep`,
      `make modules_install INSTALL_MOD_PATH=${directory}`,
    );
  }
  return join(installed, match);
}

function withModules(kernel: Omit<LabKernel, "modules">): LabKernel {
  const { modulesDirectory, version } = kernel;
  if (modulesDirectory === undefined) return { ...kernel, modules: [] };
  const index = readModuleIndex(modulesDirectory);
  const optional = OPTIONAL_MODULES.filter((name) => index.loadable.has(name));
  const { order, missing } = resolveModules(index, [...REQUIRED_MODULES, ...optional]);
  if (missing.length > 0) {
    const label = `kernel ${version ?? kernel.path}`;
    throw new LabError(
      `${label} has no module ${missing.join(", ")}`,
      kernel.isHosts ? INSTALL_KERNEL : "build it as a module or into the kernel",
    );
  }
  checkVersions(kernel, order);
  return { ...kernel, modules: order };
}

/** Modules of another build would be refused in the lab, one by one and late: better said here. */
function checkVersions(
  { modulesDirectory, version }: Omit<LabKernel, "modules">,
  order: readonly KernelModule[],
): void {
  const first = order[0];
  if (first === undefined || version === undefined || modulesDirectory === undefined) return;
  const path = join(modulesDirectory, first.path);
  const modulesVersion = moduleKernelVersion(decompress(readModule(path), path));
  if (modulesVersion !== undefined && modulesVersion !== version) {
    throw new LabError(`the kernel is ${version}, but the modules in ${modulesDirectory} are of ${modulesVersion}`);
  }
}

export function readModule(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    throw new LabError(`${path} is listed in modules.dep but cannot be read`);
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function listIfThere(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
