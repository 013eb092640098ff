/** Finds the statically linked busybox that every initramfs of this tree is built around. */
import { existsSync, readFileSync } from "node:fs";
import { isStatic } from "./elf.js";
import { LabError } from "./errors.js";

const PLACES = [
  "/bin/busybox",
  "/usr/bin/busybox",
  "/usr/lib/busybox/busybox",
  "/bin/busybox.static",
  "/usr/bin/busybox.static",
];

/** The program's bytes. @throws LabError when this host has none. */
export function findBusybox(): Buffer {
  for (const path of PLACES) {
    if (!existsSync(path)) continue;
    const program = readFileSync(path);
    if (isStatic(program)) return program;
  }
  throw new LabError("there is no statically linked busybox", "apt-get install busybox-static");
}
