import { ElfError, type ElfImage, isElf, PT, parseElf } from "./elf.js";
import { BootError } from "./errors.js";
import { bzImage, ELF_TRAITS, isLinuxElf } from "./linux/linux-image.js";
import { isBzImage } from "./linux/setup-header.js";
import { findMultibootHeader, type MultibootAddresses } from "./multiboot.js";
import { findPvhEntry } from "./pvh.js";

/** A stretch of guest memory that the kernel's file fills. */
export interface Segment {
  readonly gpa: number;
  /** A view into the file. What `memorySizeBytes` has more than these is zero. */
  readonly bytes: Uint8Array;
  readonly memorySizeBytes: number;
}

/** What a Linux kernel takes from a loader, whichever way it is entered. */
export interface LinuxTraits {
  /** The longest command line in bytes, without its terminating zero. */
  readonly cmdlineSize: number;
  /** The highest address that the initial ramdisk's last byte may have. */
  readonly initrdAddrMax: number;
  /** The setup header as it goes into boot_params; a plain ELF file has none. */
  readonly setupHeader?: Uint8Array;
}

/** Memory that the kernel uses beyond what its file fills, from the first segment on. */
export interface Room {
  readonly sizeBytes: number;
  /** A kernel that may be anywhere above its own choice, at a multiple of this. */
  readonly alignBytes?: number;
}

/**
 * A kernel, understood but not yet loaded. Multiboot and PVH enter it in flat 32-bit protected mode without paging,
 * `linux` is Linux's own 64-bit boot protocol.
 */
export interface KernelImage {
  readonly path: string;
  /** All of the file; the segments are views into it. */
  readonly file: Uint8Array;
  readonly protocol: "multiboot" | "pvh" | "linux";
  readonly entry: number;
  /** In ascending order, and disjoint. */
  readonly segments: readonly Segment[];
  readonly room?: Room;
  /** Present when it is a Linux kernel. */
  readonly linux?: LinuxTraits;
}

/**
 * Decides by its content how a file boots. An image that speaks both protocols boots by PVH, which hands over 64-bit
 * addresses and the ACPI root pointer. Throws BootError, whose message begins with the path.
 */
export function parseKernel(bytes: Uint8Array, path: string): KernelImage {
  try {
    return { path, file: bytes, ...understand(bytes) };
  } catch (error) {
    if (!(error instanceof BootError) && !(error instanceof ElfError)) throw error;
    throw new BootError(`${path}: ${error.message}`, { cause: error });
  }
}

function understand(bytes: Uint8Array): Omit<KernelImage, "path" | "file"> {
  if (bytes.length === 0) throw new BootError("the file is empty");
  if (isElf(bytes)) return understandElf(bytes);
  if (isBzImage(bytes)) return bzImage(bytes);
  const multiboot = findMultibootHeader(bytes);
  if (multiboot?.addresses !== undefined) return byAddresses(multiboot.addresses);
  if (multiboot !== undefined)
    throw new BootError("its multiboot header gives no addresses, and it is not an ELF file");
  throw new BootError(`not a kernel: ${whatElse(bytes)}`);
}

function understandElf(bytes: Uint8Array): Omit<KernelImage, "path" | "file"> {
  const elf = parseElf(bytes);
  const pvhEntry = findPvhEntry(elf);
  if (pvhEntry !== undefined) {
    return { ...checked("pvh", pvhEntry, elfSegments(elf)), ...(isLinuxElf(elf, bytes) ? { linux: ELF_TRAITS } : {}) };
  }
  const multiboot = findMultibootHeader(bytes);
  if (multiboot?.addresses !== undefined) return byAddresses(multiboot.addresses);
  if (multiboot !== undefined) return checked("multiboot", elf.entry, elfSegments(elf));
  if (!isLinuxElf(elf, bytes)) {
    throw new BootError(`a ${elf.bits}-bit ELF file with neither a PVH note nor a multiboot header, and not Linux`);
  }
  if (elf.bits === 32) throw new BootError("a 32-bit Linux kernel without a PVH note: it has no 64-bit entry");
  return { ...checked("linux", elf.entry, elfSegments(elf)), linux: ELF_TRAITS };
}

function byAddresses({
  entry,
  physAddr,
  bytes,
  memorySizeBytes,
}: MultibootAddresses): Omit<KernelImage, "path" | "file"> {
  return checked("multiboot", entry, [{ gpa: physAddr, bytes, memorySizeBytes }]);
}

/** What a file is that people may take for a kernel. */
function whatElse(bytes: Uint8Array): string {
  const startsWith = (text: string, at = 0): boolean =>
    [...text].every((char, index) => bytes[at + index] === char.charCodeAt(0));
  if (startsWith("MZ") && startsWith("zimg", 4)) return "an EFI zboot image, which only EFI firmware can start";
  if (startsWith("MZ")) return "an EFI program, which only EFI firmware can start";
  if (startsWith("\x1f\x8b")) return "a gzip file; unpack it first";
  return "neither a Linux bzImage, nor an ELF file, nor a multiboot image";
}

function elfSegments(elf: ElfImage): Segment[] {
  return elf.programHeaders
    .filter(({ type, memorySizeBytes }) => type === PT.LOAD && memorySizeBytes > 0)
    .map(({ physAddr, bytes, memorySizeBytes }) => ({ gpa: physAddr, bytes, memorySizeBytes }));
}

const FOUR_GIB = 2 ** 32;

function checked(
  protocol: KernelImage["protocol"],
  entry: number,
  unsorted: Segment[],
): Omit<KernelImage, "path" | "file"> {
  const segments = [...unsorted].sort((a, b) => a.gpa - b.gpa);
  if (segments.length === 0) throw new BootError("it has nothing to load");
  segments.forEach((segment, index) => {
    const end = segment.gpa + segment.memorySizeBytes;
    const next = segments[index + 1];
    if (end > FOUR_GIB) throw new BootError(`it wants to be loaded beyond 4 GiB, at ${hex(segment.gpa)}`);
    if (next !== undefined && end > next.gpa) {
      throw new BootError(`its segments at ${hex(segment.gpa)} and ${hex(next.gpa)} overlap`);
    }
  });
  const holdsEntry = segments.some(({ gpa, bytes }) => entry >= gpa && entry < gpa + bytes.length);
  if (!holdsEntry) throw new BootError(`its ${protocol} entry point ${hex(entry)} is not in what it loads`);
  return { protocol, entry, segments };
}

export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
