/**
 * Multiboot 0.6.96: how an image says that it wants to be loaded this way, and what it finds in memory when it starts.
 */
import { E820, type E820Entry } from "../machine/memory-map.js";
import { BootError } from "./errors.js";
import { InfoBlock, type InfoContents } from "./info-block.js";

/** What EAX holds at entry (3.2, "Machine state"). */
export const MULTIBOOT_BOOTLOADER_MAGIC = 0x2badb002;

const HEADER_MAGIC = 0x1badb002;
/** The header is complete within this many bytes of the file, at a multiple of four (3.1, "OS image format"). */
const SEARCH_BYTES = 8192;

/** Header flags (3.1.2). The low 16 bits are demands: one that cannot be met is a reason to refuse. */
const HEADER_FLAG = { ALIGN_MODULES: 1 << 0, MEMORY_INFO: 1 << 1, VIDEO_MODE: 1 << 2, ADDRESSES: 1 << 16 } as const;
const DEMANDS = 0xffff;
const MET_DEMANDS = HEADER_FLAG.ALIGN_MODULES | HEADER_FLAG.MEMORY_INFO;

/** Where the header's address fields put the image (3.1.3), for files that are not ELF or do not want to be. */
export interface MultibootAddresses {
  readonly entry: number;
  readonly physAddr: number;
  readonly bytes: Uint8Array;
  readonly memorySizeBytes: number;
}

export interface MultibootHeader {
  readonly offset: number;
  readonly flags: number;
  readonly addresses: MultibootAddresses | undefined;
}

/** Finds the header; undefined when the file has none. Throws BootError when it asks for what this machine cannot do. */
export function findMultibootHeader(bytes: Uint8Array): MultibootHeader | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = Math.min(bytes.length, SEARCH_BYTES);
  for (let offset = 0; offset + 12 <= end; offset += 4) {
    if (view.getUint32(offset, true) !== HEADER_MAGIC) continue;
    const flags = view.getUint32(offset + 4, true);
    const checksum = view.getUint32(offset + 8, true);
    if ((HEADER_MAGIC + flags + checksum) % 2 ** 32 !== 0) continue;
    checkDemands(flags);
    const addresses = (flags & HEADER_FLAG.ADDRESSES) !== 0 ? readAddresses(bytes, view, offset) : undefined;
    return { offset, flags, addresses };
  }
  return undefined;
}

function checkDemands(flags: number): void {
  if ((flags & HEADER_FLAG.VIDEO_MODE) !== 0) {
    throw new BootError("its multiboot header demands a video mode, and this machine has no display");
  }
  const unmet = flags & DEMANDS & ~MET_DEMANDS;
  if (unmet !== 0)
    throw new BootError(`its multiboot header demands what is unknown here (flags 0x${unmet.toString(16)})`);
}

function readAddresses(bytes: Uint8Array, view: DataView, headerOffset: number): MultibootAddresses {
  if (headerOffset + 32 > Math.min(bytes.length, SEARCH_BYTES)) {
    throw new BootError("truncated: its multiboot header ends before the address fields it promises");
  }
  const field = (index: number): number => view.getUint32(headerOffset + 12 + 4 * index, true);
  const [headerAddr, loadAddr, loadEndAddr, bssEndAddr, entry] = [field(0), field(1), field(2), field(3), field(4)];
  const fileOffset = headerOffset - (headerAddr - loadAddr);
  if (headerAddr < loadAddr || fileOffset < 0) {
    throw new BootError("its multiboot header lies outside of what its address fields load");
  }
  // A load_end_addr of 0 means the whole file, a bss_end_addr of 0 means no bss.
  const fileSize = loadEndAddr === 0 ? bytes.length - fileOffset : loadEndAddr - loadAddr;
  if (fileSize < 0 || fileOffset + fileSize > bytes.length) {
    throw new BootError(`truncated: its multiboot header wants ${fileSize} bytes of ${bytes.length}`);
  }
  const memorySizeBytes = bssEndAddr === 0 ? fileSize : bssEndAddr - loadAddr;
  if (memorySizeBytes < fileSize) throw new BootError("its multiboot header ends the bss before the data");
  const segment = bytes.subarray(fileOffset, fileOffset + fileSize);
  return { entry, physAddr: loadAddr, bytes: segment, memorySizeBytes };
}

/** Bits of the information structure's first word: which of its fields are valid (3.3, "Boot information format"). */
const INFO_FLAG = { MEMORY: 1 << 0, CMDLINE: 1 << 2, MODS: 1 << 3, MMAP: 1 << 6, BOOT_LOADER_NAME: 1 << 9 } as const;
/** Its size up to and including the framebuffer fields, which stay zero. */
const INFO_BYTES = 116;
const MODULE_BYTES = 16;
/** An entry of the memory map counts its own size without the size field. */
const MMAP_ENTRY_BYTES = 24;

const KIB = 1024;
const MIB = 1024 * KIB;

/** Builds the information structure with all it points at, as one block to be written at `gpa`. */
export function buildMultibootInfo(contents: InfoContents, gpa: number): Uint8Array {
  const block = new InfoBlock(gpa);
  const info = block.reserve(INFO_BYTES);
  const mods = block.reserve(MODULE_BYTES * contents.modules.length);
  const mmap = block.reserve(MMAP_ENTRY_BYTES * contents.memoryMap.length);
  const { lowerKib, upperKib } = memorySizes(contents.memoryMap);
  info
    .u32(0, INFO_FLAG.MEMORY | INFO_FLAG.CMDLINE | INFO_FLAG.MODS | INFO_FLAG.MMAP | INFO_FLAG.BOOT_LOADER_NAME)
    .u32(4, lowerKib)
    .u32(8, upperKib)
    .u32(16, block.string(contents.commandLine))
    .u32(20, contents.modules.length)
    .u32(24, mods.gpa)
    .u32(44, MMAP_ENTRY_BYTES * contents.memoryMap.length)
    .u32(48, mmap.gpa)
    .u32(64, block.string("tools-kvm"));
  contents.modules.forEach((module, index) => {
    mods
      .u32(MODULE_BYTES * index, module.gpa)
      .u32(MODULE_BYTES * index + 4, module.gpa + module.sizeBytes)
      .u32(MODULE_BYTES * index + 8, block.string(module.commandLine));
  });
  contents.memoryMap.forEach((entry, index) => {
    mmap
      .u32(MMAP_ENTRY_BYTES * index, MMAP_ENTRY_BYTES - 4)
      .u64(MMAP_ENTRY_BYTES * index + 4, entry.addr)
      .u64(MMAP_ENTRY_BYTES * index + 12, entry.size)
      .u32(MMAP_ENTRY_BYTES * index + 20, entry.type);
  });
  return block.bytes();
}

/** RAM from 0 and from 1 MiB, in KiB, each up to its first hole. */
function memorySizes(memoryMap: readonly E820Entry[]): { lowerKib: number; upperKib: number } {
  const kibAt = (addr: number): number => {
    const entry = memoryMap.find((entry) => entry.type === E820.RAM && entry.addr === addr);
    return entry === undefined ? 0 : Math.min(Math.floor(entry.size / KIB), 0xffff_ffff);
  };
  return { lowerKib: Math.min(kibAt(0), 640), upperKib: kibAt(MIB) };
}
