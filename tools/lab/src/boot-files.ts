/**
 * The two files QEMU starts from, made once and kept by content: the kernel's ELF out of its bzImage, and an initramfs with
 * busybox, the modules and the lab's own scripts. Labs that start at the same time share them.
 */
import { createHash } from "node:crypto";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findBusybox } from "./busybox.js";
import { type CpioEntry, cpioArchive } from "./cpio.js";
import { LabError } from "./errors.js";
import { identifyKernel, unpackBzImage } from "./kernel-image.js";
import type { LabKernel } from "./kernels.js";
import { moduleEntries } from "./module-files.js";

export interface BootFiles {
  kernelPath: string;
  initramfsPath: string;
}

const SCRIPTS = fileURLToPath(new URL("../guest/", import.meta.url));
const CHECKOUT = fileURLToPath(new URL("../../../", import.meta.url));
/** What init.sh calls before the host's root is there. */
const INIT_APPLETS = ["sh", "mount", "insmod", "mkdir", "cat", "cp", "sleep", "switch_root", "poweroff"];

const CONSOLE = { major: 5, minor: 1 };

/** A file of the cache that no start has touched for so long is removed by the next one that writes there. */
const CACHE_KEEP_MS = 14 * 24 * 3600 * 1000;

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

/** Beside the packages of this checkout when that can be written, otherwise in the user's own cache. */
function cacheDirectory(): string {
  const userCache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  for (const parent of [join(CHECKOUT, "node_modules"), userCache]) {
    const directory = parent === userCache ? join(parent, "tools-kvm-lab") : join(parent, ".cache", "tools-kvm-lab");
    try {
      if (parent !== userCache) accessSync(parent, constants.W_OK);
      mkdirSync(directory, { recursive: true });
      accessSync(directory, constants.W_OK);
      return directory;
    } catch {
      // The next one, then.
    }
  }
  throw new LabError(
    `neither ${CHECKOUT}node_modules nor ${userCache} can be written`,
    "set XDG_CACHE_HOME to a folder of yours",
  );
}

/** Makes the file if it is not there, by way of a rename, so that nobody sees half of it; marks it as used. */
function keep(path: string, content: () => Buffer): void {
  if (existsSync(path)) {
    const now = new Date();
    utimesSync(path, now, now);
    return;
  }
  const unfinished = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(unfinished, content());
    renameSync(unfinished, path);
  } finally {
    rmSync(unfinished, { force: true });
  }
  removeUnused(join(path, ".."));
}

function removeUnused(directory: string): void {
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    const modifiedMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
    if (modifiedMs !== undefined && Date.now() - modifiedMs > CACHE_KEEP_MS) rmSync(path, { force: true });
  }
}

function digest(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex").slice(0, 16);
}
