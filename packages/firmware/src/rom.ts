import { packageFile } from "./package-file.js";

/**
 * Path of the ROM: 64 KiB that end at 4 GiB, for a CPU to begin in. It boots what fw_cfg gives it, as
 * `qemu-system-x86_64 -bios` and `vmm run --firmware rom` do; docs/firmware.md says how.
 */
export function romPath(): string {
  return packageFile("rom.bin");
}
