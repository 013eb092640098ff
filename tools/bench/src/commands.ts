/** How the programs that are compared are started: our own from this tree, and QEMU with the same guest. */
import { fileURLToPath } from "node:url";
import { embeddedGuestPath } from "@tools-kvm/firmware";
import type { MissingPeer } from "./bench.js";
import { which } from "./find-program.js";

export const VMM = fileURLToPath(new URL("../../../packages/vmm/bin/vmm.js", import.meta.url));
export const QEMU = "qemu-system-x86_64";

export const MEMORY_MIB = 128;

export function vmmRun(...options: readonly string[]): string[] {
  return [process.execPath, VMM, "run", "--memory", `${MEMORY_MIB}M`, ...options];
}

/** QEMU's command line for the embedded guest on `machine`, with its RAM in a memfd that smaps can tell apart. */
export function qemuRun(machine: string, ...options: readonly string[]): string[] {
  return [
    QEMU,
    ...["-M", `${machine},memory-backend=ram`, "-enable-kvm", "-nodefaults", "-no-user-config", "-display", "none"],
    ...["-object", `memory-backend-memfd,id=ram,size=${MEMORY_MIB}M`, "-m", `${MEMORY_MIB}M`],
    ...["-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", embeddedGuestPath()],
    ...options,
  ];
}

/** QEMU's microvm with one device on its virtio-mmio bus, of the version that every driver of today speaks. */
export function qemuVirtio(device: string, ...options: readonly string[]): string[] {
  const modern = ["-global", "virtio-mmio.force-legacy=false"];
  return qemuRun("microvm,isa-serial=on", ...modern, "-device", device, ...options);
}

/** A machine of QEMU's, whose firmware starts `kernel`: SeaBIOS on `pc`, qboot on `microvm`, unless `-bios` is among the options. */
export function qemuFirmware(machine: "pc" | "microvm", kernel: string, ...options: readonly string[]): string[] {
  return [
    QEMU,
    ...["-M", machine, "-enable-kvm", "-nodefaults", "-no-user-config", "-display", "none", "-m", `${MEMORY_MIB}M`],
    ...["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", kernel],
    ...options,
  ];
}

/** The port that firmware writes its log to, as options of QEMU's. */
export function qemuDebugConsole(path: string): string[] {
  return ["-debugcon", `file:${path}`, "-global", "isa-debugcon.iobase=0x402"];
}

/** Undefined when QEMU is here. */
export function missingQemu(): MissingPeer | undefined {
  if (which(QEMU) !== undefined) return undefined;
  return { name: "QEMU", missing: `no peer: ${QEMU} is not installed; apt-get install qemu-system-x86` };
}
