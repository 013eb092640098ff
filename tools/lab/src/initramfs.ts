/**
 * Small initramfs archives for guests of ours: busybox, a script, and the kernel modules the script wants. Equal options
 * give equal bytes.
 */
import { readFileSync } from "node:fs";
import { type CpioEntry, cpioArchive, resolveModules } from "@tools-kvm/firmware";
import { findBusybox } from "./busybox.js";
import { LabError } from "./errors.js";
import { moduleEntries } from "./module-files.js";
import { readModuleIndex } from "./modules.js";

export interface InitramfsOptions {
  /** What the guest runs once /proc, /sys, /dev and the modules are there: a script for busybox's sh, with all its applets. */
  readonly script: string;
  /** Modules to insert by name, dependencies before them. */
  readonly modules?: readonly string[];
  /** The directory with their modules.dep: /lib/modules/VERSION. */
  readonly modulesDirectory?: string;
  /** More files, by their path without a leading slash; those below bin/ can be executed. Folders are made. */
  readonly files?: Readonly<Record<string, Uint8Array>>;
}

const INIT = new URL("../guest/small-init.sh", import.meta.url);
const FOLDERS = ["bin", "dev", "proc", "sys", "tmp"];
const CONSOLE = { major: 5, minor: 1 };

/** The archive. @throws LabError for a module that does not exist, or without a static busybox. */
export function buildInitramfs({ script, modules = [], modulesDirectory, files = {} }: InitramfsOptions): Buffer {
  return cpioArchive([
    ...FOLDERS.map((path) => ({ kind: "directory" as const, path })),
    { kind: "character-device", path: "dev/console", ...CONSOLE },
    { kind: "file", path: "init", content: readFileSync(INIT), mode: 0o755 },
    { kind: "file", path: "main", content: Buffer.from(script) },
    { kind: "file", path: "bin/busybox", content: findBusybox(), mode: 0o755 },
    ...moduleEntries(modulesDirectory, order(modules, modulesDirectory)),
    ...fileEntries(files),
  ]);
}

function order(wanted: readonly string[], directory: string | undefined) {
  if (wanted.length === 0) return [];
  if (directory === undefined) throw new LabError("modules are wanted, and nothing says of which kernel");
  const { order, missing } = resolveModules(readModuleIndex(directory), wanted);
  if (missing.length > 0) throw new LabError(`${directory} has no module ${missing.join(", ")}`);
  return order;
}

function fileEntries(files: Readonly<Record<string, Uint8Array>>): CpioEntry[] {
  const made = new Set([...FOLDERS, "modules"]);
  return Object.entries(files).flatMap(([path, content]) => {
    const folders = parents(path).filter((folder) => !made.has(folder));
    for (const folder of folders) made.add(folder);
    return [
      ...folders.map((folder) => ({ kind: "directory" as const, path: folder })),
      { kind: "file" as const, path, content, mode: path.startsWith("bin/") ? 0o755 : 0o644 },
    ];
  });
}

/** `a` and `a/b` of `a/b/c`. */
function parents(path: string): string[] {
  const parts = path.split("/").slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join("/"));
}
