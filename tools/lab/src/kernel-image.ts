/**
 * Reads what the lab has to know of an x86 kernel file: its version, and the ELF inside a bzImage
 * (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"). Unpacked here once, the ELF boots through its PVH entry
 * (Xen's start-info ABI, note type 18) and saves the emulated machine some three seconds of decompression at each start.
 */
import { decompress, isGzip } from "./decompress.js";
import { hasNote, isElf64 } from "./elf.js";

const SETUP_SECTS = 0x1f1;
const HEADER_MAGIC = 0x202;
const PROTOCOL_VERSION = 0x206;
const KERNEL_VERSION = 0x20e;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const HEADER_END = 0x250;
const SECTOR_BYTES = 512;
/** Boot protocol 2.08 brought payload_offset and payload_length. */
const PROTOCOL_WITH_PAYLOAD = 0x0208;

const XEN_ELFNOTE_PHYS32_ENTRY = 18;

/** Longer than any version text the kernel prints. */
const MAX_VERSION_BYTES = 256;

export type KernelImage =
  | { kind: "bzImage"; version: string | undefined }
  | { kind: "elf"; version: string | undefined; hasPvhEntry: boolean };

/** What the file is; undefined when it is no kernel that QEMU could boot. */
export function identifyKernel(file: Buffer): KernelImage | undefined {
  if (file.length > HEADER_END && file.toString("latin1", HEADER_MAGIC, HEADER_MAGIC + 4) === "HdrS") {
    return { kind: "bzImage", version: bzImageVersion(file) };
  }
  if (isElf64(file)) {
    return { kind: "elf", version: elfVersion(file), hasPvhEntry: hasNote(file, "Xen", XEN_ELFNOTE_PHYS32_ENTRY) };
  }
  return undefined;
}

/** The ELF inside a bzImage; undefined when it has none that boots by itself. A compression without its tool throws LabError. */
export function unpackBzImage(file: Buffer, what: string): Buffer | undefined {
  if (file.readUInt16LE(PROTOCOL_VERSION) < PROTOCOL_WITH_PAYLOAD) return undefined;
  // 0 means 4, from the time before the field.
  const setupSectors = file[SETUP_SECTS] || 4;
  const start = (setupSectors + 1) * SECTOR_BYTES + file.readUInt32LE(PAYLOAD_OFFSET);
  const end = start + file.readUInt32LE(PAYLOAD_LENGTH);
  if (end > file.length || end - start < 8) return undefined;
  // The last four bytes of the payload are the size of what it unpacks to. gzip ends so by itself; behind the others they were put.
  const payload = file.subarray(start, end);
  const elf = decompress(isGzip(payload) ? payload : payload.subarray(0, -4), what);
  if (elf.length !== file.readUInt32LE(end - 4)) return undefined;
  const image = identifyKernel(elf);
  return image?.kind === "elf" && image.hasPvhEntry ? elf : undefined;
}

/** `6.1.0-13-amd64` of a module's `vermagic=6.1.0-13-amd64 SMP preempt mod_unload`. */
export function moduleKernelVersion(module: Buffer): string | undefined {
  const at = module.indexOf("vermagic=");
  return at < 0 ? undefined : firstWord(module.toString("latin1", at + "vermagic=".length, at + MAX_VERSION_BYTES));
}

function bzImageVersion(file: Buffer): string | undefined {
  const pointer = file.readUInt16LE(KERNEL_VERSION);
  if (pointer === 0) return undefined;
  const start = pointer + 0x200;
  return firstWord(file.toString("latin1", start, start + MAX_VERSION_BYTES));
}

function elfVersion(file: Buffer): string | undefined {
  const banner = "Linux version ";
  const at = file.indexOf(banner);
  return at < 0 ? undefined : firstWord(file.toString("latin1", at + banner.length, at + MAX_VERSION_BYTES));
}

function firstWord(text: string): string | undefined {
  const word = text.split(/[\s\0]/, 1)[0];
  return word === "" ? undefined : word;
}
