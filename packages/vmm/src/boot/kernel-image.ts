import { ElfError, type ElfImage, isElf, PT, parseElf } from "./elf.js";
import { BootError } from "./errors.js";
import { findMultibootHeader } from "./multiboot.js";
import { findPvhEntry } from "./pvh.js";

/** A stretch of guest memory that the kernel's file fills. */
export interface Segment {
  readonly gpa: number;
  /** A view into the file. What `memorySizeBytes` has more than these is zero. */
  readonly bytes: Uint8Array;
  readonly memorySizeBytes: number;
}

/** A kernel, understood but not yet loaded. Both protocols enter it in flat 32-bit protected mode without paging. */
export interface KernelImage {
  readonly path: string;
  readonly protocol: "multiboot" | "pvh";
  readonly entry: number;
  /** In ascending order, and disjoint. */
  readonly segments: readonly Segment[];
}

/**
 * Decides by its content how a file boots. An image that speaks both protocols boots by PVH, which hands over 64-bit
 * addresses and the ACPI root pointer. Throws BootError, whose message begins with the path.
 */
export function parseKernel(bytes: Uint8Array, path: string): KernelImage {
  try {
    return { path, ...understand(bytes) };
  } catch (error) {
    if (!(error instanceof BootError) && !(error instanceof ElfError)) throw error;
    throw new BootError(`${path}: ${error.message}`, { cause: error });
  }
}

function understand(bytes: Uint8Array): Omit<KernelImage, "path"> {
  if (bytes.length === 0) throw new BootError("the file is empty");
  const elf = isElf(bytes) ? parseElf(bytes) : undefined;
  const pvhEntry = elf === undefined ? undefined : findPvhEntry(elf);
  if (elf !== undefined && pvhEntry !== undefined) return checked("pvh", pvhEntry, elfSegments(elf));
  if (isBzImage(bytes)) {
    throw new BootError("a Linux bzImage, which cannot be booted here yet: give the ELF file (vmlinux) inside it");
  }
  const multiboot = findMultibootHeader(bytes);
  if (multiboot?.addresses !== undefined) {
    const { entry, physAddr, bytes: data, memorySizeBytes } = multiboot.addresses;
    return checked("multiboot", entry, [{ gpa: physAddr, bytes: data, memorySizeBytes }]);
  }
  if (multiboot !== undefined && elf !== undefined) return checked("multiboot", elf.entry, elfSegments(elf));
  if (multiboot !== undefined)
    throw new BootError("its multiboot header gives no addresses, and it is not an ELF file");
  if (elf !== undefined) {
    throw new BootError(`a ${elf.bits}-bit ELF file with neither a PVH note nor a multiboot header`);
  }
  throw new BootError("not a kernel: neither an ELF file nor a multiboot image");
}

/** The boot sector's signature and the setup header's (Linux, Documentation/arch/x86/boot.rst). */
function isBzImage(bytes: Uint8Array): boolean {
  const SETUP_SIGNATURE = [0x48, 0x64, 0x72, 0x53];
  return (
    bytes[0x1fe] === 0x55 && bytes[0x1ff] === 0xaa && SETUP_SIGNATURE.every((byte, i) => bytes[0x202 + i] === byte)
  );
}

function elfSegments(elf: ElfImage): Segment[] {
  return elf.programHeaders
    .filter(({ type, memorySizeBytes }) => type === PT.LOAD && memorySizeBytes > 0)
    .map(({ physAddr, bytes, memorySizeBytes }) => ({ gpa: physAddr, bytes, memorySizeBytes }));
}

const FOUR_GIB = 2 ** 32;

function checked(protocol: KernelImage["protocol"], entry: number, unsorted: Segment[]): Omit<KernelImage, "path"> {
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
