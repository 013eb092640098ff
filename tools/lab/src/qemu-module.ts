/**
 * A way around a fault of QEMU up to 8.x. A guest's `mov cr8` while KVM waits to give it an interrupt calls cpu_interrupt without the
 * lock that tcg_handle_interrupt asserts (target/i386/tcg/sysemu/misc_helper.c, helper_write_crN), and the assertion ends QEMU. OVMF
 * returns from every interrupt with that instruction. Where emulation is a module of QEMU, as Debian has it, the lab loads a
 * copy of the module in which the assertion asks a function that is always true.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { cacheDirectory, digest, keep } from "./cache.js";

const MODULE = "accel-tcg-x86_64.so";
/** Where distributions put QEMU's modules: Debian, Fedora, Arch and others. */
const MODULE_FOLDERS = ["/usr/lib/x86_64-linux-gnu/qemu", "/usr/lib64/qemu", "/usr/lib/qemu"];

/** Both are functions of QEMU's without arguments that matter; the module calls the first in that assertion alone. */
const ASSERTED = "qemu_mutex_iothread_locked";
const ALWAYS_TRUE = "qnull_is_equal";

/** The folder that QEMU is to look for modules in first; undefined when there is nothing to mend, or no way to. */
export function mendedModuleFolder(folders: readonly string[] = MODULE_FOLDERS): string | undefined {
  const path = folders.map((folder) => join(folder, MODULE)).find((each) => existsSync(each));
  if (path === undefined) return undefined;
  const mended = mend(readFileSync(path));
  if (mended === undefined) return undefined;
  const copy = join(cacheDirectory(), `qemu-${digest(mended)}`, MODULE);
  keep(copy, () => mended);
  return dirname(copy);
}

/** The module with the name of one function in place of the other's; undefined when it has no such name, or several. */
export function mend(module: Buffer): Buffer | undefined {
  const name = Buffer.from(`\0${ASSERTED}\0`);
  const at = module.indexOf(name);
  if (at < 0 || module.indexOf(name, at + 1) >= 0) return undefined;
  const copy = Buffer.from(module);
  copy.fill(0, at + 1, at + name.length);
  copy.write(ALWAYS_TRUE, at + 1);
  return copy;
}
