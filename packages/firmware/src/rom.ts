import { packageFile } from "./package-file.js";

/**
 * Path of the ROM: 64 KiB that end at 4 GiB, for a CPU to begin in. It boots what fw_cfg gives it, as
 * `qemu-system-x86_64 -bios` and `vmm run --firmware rom` do; docs/firmware.md says how.
 */
export function romPath(): string {
  return packageFile("rom.bin");
}

/**
 * Path of the option ROM, by which a BIOS boots what fw_cfg gives to firmware: the same code, which begins when the BIOS calls its
 * bootstrap entry vector (BIOS Boot Specification 1.01).
 */
export function optionRomPath(): string {
  return packageFile("option-rom.bin");
}
