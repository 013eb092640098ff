/** `--firmware`: a word for what is known, or a path; `--firmware-vars`: the file in which it keeps its variables. */
import { closeSync, constants, fstatSync, openSync, readFileSync, readSync, statSync, writeSync } from "node:fs";
import { romPath } from "@tools-kvm/firmware";
import { DiskError } from "../block/errors.js";
import { lockImage } from "../block/image-lock.js";
import { BootError } from "../boot/errors.js";
import { type Firmware, type FlashContents, flashBase, ROM_END, romFault } from "../machine/firmware-rom.js";
import { firmwareContents } from "../machine/fw-cfg-contents.js";
import type { BootSource } from "../machine/machine.js";
import { ECAM_BASE } from "../machine/memory-map.js";
import { formatSize, type MachineSpec } from "../machine/spec.js";
import { CliError, whyNot } from "./errors.js";

/** Where distributions put it: Debian, Fedora, Arch. The one of 256 KiB: the smaller one knows no virtio-mmio. */
const SEABIOS_PATHS = ["/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/bios-256k.bin"];

/** The ROM and what its variables are to begin with, by distribution: Debian, Fedora, Arch, openSUSE. */
const OVMF_FILES = [
  { rom: "/usr/share/OVMF/OVMF_CODE_4M.fd", variables: "/usr/share/OVMF/OVMF_VARS_4M.fd" },
  { rom: "/usr/share/edk2/ovmf/OVMF_CODE.fd", variables: "/usr/share/edk2/ovmf/OVMF_VARS.fd" },
  { rom: "/usr/share/edk2/x64/OVMF_CODE.4m.fd", variables: "/usr/share/edk2/x64/OVMF_VARS.4m.fd" },
  { rom: "/usr/share/qemu/ovmf-x86_64-code.bin", variables: "/usr/share/qemu/ovmf-x86_64-vars.bin" },
];

/** Chipsets leave firmware 16 MiB below 4 GiB, of which pc-testdev's memory takes the first 64 KiB. */
const LOWEST_FLASH = ROM_END - 8 * 2 ** 20;

interface FirmwareFiles {
  readonly rom: string;
  readonly chipset?: Firmware["chipset"];
  /** What a new file of variables is a copy of. */
  readonly variables?: string;
}

/** Throws CliError: every fault is one line, and one for what is not installed names the package. */
export function firmware(
  { firmware: option = "", firmwareVars: file }: { readonly firmware?: string; readonly firmwareVars?: string },
  spec: MachineSpec,
  source: BootSource,
): Firmware {
  const { rom, variables, chipset = chipsetFor(option, spec) } = filesOf(option);
  const bytes = readRom(option, rom);
  const fault = romFault(bytes.length);
  if (fault !== undefined) throw new CliError(`--firmware ${option}: ${fault}`);
  checkHandover(option, spec, source);
  if (chipset !== undefined && spec.memoryBytes > ECAM_BASE)
    throw new CliError(`--firmware ${option}: has room for ${formatSize(ECAM_BASE)} of memory at most`);
  const template = variables === undefined ? undefined : readRom(option, variables);
  const found = { name: option, bytes, chipset, variables: flashContents(file, template) };
  if (flashBase(found) >= LOWEST_FLASH) return found;
  throw new CliError(`--firmware-vars ${file}: with its firmware more than 8 MiB`);
}

/** A PCI bus is what a chipset's firmware has set up; ours takes it as it is without firmware. */
function chipsetFor(option: string, { bus }: MachineSpec): Firmware["chipset"] {
  return bus === "pci" && option !== "rom" ? "q35" : undefined;
}

function filesOf(option: string): FirmwareFiles {
  if (option === "rom") return { rom: romPath() };
  if (option === "seabios") return { rom: seabiosPath() };
  if (option === "ovmf") return { ...ovmfFiles(), chipset: "q35" };
  return { rom: option };
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

const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() === true;

/** Throws CliError when none of `paths` is there. */
export function seabiosPath(paths: readonly string[] = SEABIOS_PATHS): string {
  const found = paths.find(isFile);
  if (found === undefined) throw new CliError("--firmware seabios: it is not installed; the package is named seabios");
  return found;
}

/** Throws CliError when none of `candidates` is there. */
export function ovmfFiles(
  candidates: readonly { readonly rom: string; readonly variables: string }[] = OVMF_FILES,
): FirmwareFiles {
  const found = candidates.find(({ rom, variables }) => isFile(rom) && isFile(variables));
  if (found === undefined)
    throw new CliError("--firmware ovmf: it is not installed; the package is named ovmf (Debian) or edk2-ovmf");
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

/** The chip's cells: those of `path`, which is a copy of `template` when it is new; without a path nothing is kept. */
function flashContents(path: string | undefined, template: Uint8Array | undefined): FlashContents | undefined {
  if (path === undefined) return template && { bytes: template };
  const refuse = (why: string): never => {
    throw new CliError(`--firmware-vars ${path}: ${why}`);
  };
  let fd: number;
  try {
    fd = openSync(path, template === undefined ? constants.O_RDWR : constants.O_RDWR | constants.O_CREAT, 0o600);
  } catch (error) {
    return refuse(whyNot(error));
  }
  try {
    if (!fstatSync(fd).isFile()) refuse("not a file");
    lockImage(fd, path, false);
    if (template !== undefined && fstatSync(fd).size === 0) writeSync(fd, template, 0, template.length, 0);
    const { size } = fstatSync(fd);
    if (template !== undefined && size !== template.length)
      refuse(`has ${size} bytes, and this firmware's variables ${template.length}; remove it to begin anew`);
    const fault = romFault(size);
    if (fault !== undefined) refuse(fault.replace("a ROM", "a flash chip"));
    const bytes = new Uint8Array(size);
    for (let done = 0; done < size; ) {
      const read = readSync(fd, bytes, done, size - done, done);
      if (read === 0) refuse("has been cut off meanwhile");
      done += read;
    }
    return { bytes, fd };
  } catch (error) {
    closeSync(fd);
    if (error instanceof CliError) throw error;
    return refuse(error instanceof DiskError ? error.message : whyNot(error));
  }
}
