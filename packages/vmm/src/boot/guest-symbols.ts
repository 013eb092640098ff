/** Where a profiler finds names for the guest kernel's addresses: what a machine knows of what it has booted. */
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { embeddedGuestPath, embeddedGuestSymbolsPath } from "@tools-kvm/firmware";
import type { GuestSymbolsPlace } from "@tools-kvm/kvm-binding";
import type { KernelImage } from "./kernel-image.js";

const ELF_MAGIC = 0x7f454c46;

/**
 * An ELF file runs where it was linked. A bzImage has no symbols and, unless told otherwise, chooses its address itself: it is of use
 * only with `nokaslr` and the vmlinux that it was made from, in its build tree or where Debian's -dbg packages have it.
 *
 * @param commandLine the kernel's
 */
export function guestSymbols({ path, file }: KernelImage, commandLine: string): GuestSymbolsPlace {
  if (path === embeddedGuestPath()) return { path: embeddedGuestSymbolsPath() };
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (view.byteLength >= 4 && view.getUint32(0) === ELF_MAGIC) return { path: resolve(path) };
  if (!/(^|\s)nokaslr(\s|$)/.test(commandLine)) {
    return { why: "a bzImage chooses its address itself: boot it with nokaslr, or give the guest's /proc/kallsyms" };
  }
  const place = vmlinuxPlaces(resolve(path)).find((each) => existsSync(each));
  return place === undefined ? { why: "a bzImage has no symbols, and no vmlinux is beside it" } : { path: place };
}

/** A build tree has it above arch/x86/boot/bzImage; Debian's packages below /usr/lib/debug. */
function vmlinuxPlaces(bzImage: string): string[] {
  const version = /\/vmlinuz-([^/]+)$/.exec(bzImage)?.[1];
  return [
    ...(/\/arch\/x86\/boot\/bzImage$/.test(bzImage) ? [resolve(dirname(bzImage), "../../../vmlinux")] : []),
    ...(version === undefined ? [] : [`/usr/lib/debug/boot/vmlinux-${version}`]),
  ];
}
