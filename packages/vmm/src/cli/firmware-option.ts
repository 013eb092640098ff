/** `--firmware`: a word for what is known, or a path. */
import { readFileSync, statSync } from "node:fs";
import { romPath } from "@tools-kvm/firmware";
import { BootError } from "../boot/errors.js";
import { type Firmware, romFault } from "../machine/firmware-rom.js";
import { firmwareContents } from "../machine/fw-cfg-contents.js";
import type { BootSource } from "../machine/machine.js";
import type { MachineSpec } from "../machine/spec.js";
import { CliError, whyNot } from "./errors.js";

/** Where distributions put it. */
const SEABIOS_PATHS = ["/usr/share/seabios/bios.bin", "/usr/share/qemu/bios.bin"];

/** Throws CliError: every fault is one line, and one for what is not installed names the package. */
export function firmware(option: string, spec: MachineSpec, source: BootSource): Firmware {
  const path = option === "rom" ? romPath() : option === "seabios" ? seabiosPath() : option;
  const bytes = readRom(option, path);
  const fault = romFault(bytes.length);
  if (fault !== undefined) throw new CliError(`--firmware ${option}: ${fault}`);
  checkHandover(option, spec, source);
  return { name: option, bytes };
}

/** Not every kernel that a machine can enter by itself can be given to firmware. */
function checkHandover(option: string, spec: MachineSpec, source: BootSource): void {
  try {
    firmwareContents(spec, source);
  } catch (error) {
    if (error instanceof BootError) throw new CliError(`--firmware ${option}: ${error.message}`);
    throw error;
  }
}

/** Throws CliError when none of `paths` is there. */
export function seabiosPath(paths: readonly string[] = SEABIOS_PATHS): string {
  const found = paths.find((path) => statSync(path, { throwIfNoEntry: false })?.isFile());
  if (found === undefined) throw new CliError("--firmware seabios: it is not installed; the package is named seabios");
  return found;
}

function readRom(option: string, path: string): Uint8Array {
  try {
    if (!statSync(path).isFile()) throw new CliError(`--firmware ${option}: not a file`);
    return readFileSync(path);
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(`--firmware ${option}: ${whyNot(error)}`);
  }
}
