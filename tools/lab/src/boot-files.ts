/**
 * The two files QEMU starts from, made once and kept by content: the kernel's ELF out of its bzImage, and an initramfs with
 * busybox, the modules and the lab's own scripts. Labs that start at the same time share them.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type CpioEntry, cpioArchive } from "@tools-kvm/firmware";
import { findBusybox } from "./busybox.js";
import { cacheDirectory, digest, keep } from "./cache.js";
import { LabError } from "./errors.js";
import { identifyKernel, unpackBzImage } from "./kernel-image.js";
import type { LabKernel } from "./kernels.js";
import { moduleEntries } from "./module-files.js";

export interface BootFiles {
  kernelPath: string;
  initramfsPath: string;
}

const SCRIPTS = fileURLToPath(new URL("../guest/", import.meta.url));
/** What init.sh calls before the host's root is there. */
const INIT_APPLETS = ["sh", "mount", "insmod", "mkdir", "cat", "cp", "sleep", "switch_root", "poweroff"];

const CONSOLE = { major: 5, minor: 1 };

export function prepareBootFiles(kernel: LabKernel): BootFiles {
  const cache = cacheDirectory();
  const initramfs = buildInitramfs(kernel);
  const initramfsPath = join(cache, `initramfs-${digest(initramfs)}.cpio`);
  keep(initramfsPath, () => initramfs);
  return { kernelPath: bootableKernel(kernel.path, cache), initramfsPath };
}

/** The path of an ELF where one can be had; otherwise of the bzImage as it is, which only starts some seconds later. */
function bootableKernel(path: string, cache: string): string {
  const file = readFileSync(path);
  if (identifyKernel(file)?.kind !== "bzImage") return path;
  const elfPath = join(cache, `vmlinux-${digest(file)}`);
  if (existsSync(elfPath)) {
    keep(elfPath, () => Buffer.alloc(0));
    return elfPath;
  }
  let elf: Buffer | undefined;
  try {
    elf = unpackBzImage(file, path);
  } catch (error) {
    if (!(error instanceof LabError)) throw error;
  }
  if (elf === undefined) return path;
  const unpacked = elf;
  keep(elfPath, () => unpacked);
  return elfPath;
}

function buildInitramfs(kernel: LabKernel): Buffer {
  const entries: CpioEntry[] = [
    ...["bin", "dev", "lab", "proc", "sys"].map((path) => ({ kind: "directory" as const, path })),
    { kind: "character-device", path: "dev/console", ...CONSOLE },
    { kind: "file", path: "init", content: script("init.sh"), mode: 0o755 },
    { kind: "file", path: "lab/agent.sh", content: script("agent.sh") },
    { kind: "file", path: "bin/busybox", content: findBusybox(), mode: 0o755 },
    ...INIT_APPLETS.map((applet) => ({ kind: "symlink" as const, path: `bin/${applet}`, target: "busybox" })),
    ...moduleEntries(kernel.modulesDirectory, kernel.modules),
  ];
  return cpioArchive(entries);
}

function script(name: string): Buffer {
  return readFileSync(join(SCRIPTS, name));
}
