/**
 * PVH: the entry that Xen defined for kernels without a boot loader, which other machines took over. The ELF file
 * names a 32-bit entry point in a note; at entry EBX points at a start info structure (Xen, public/arch-x86/hvm/start_info.h).
 */
import type { ElfImage } from "./elf.js";
import { BootError } from "./errors.js";
import { InfoBlock, type InfoContents } from "./info-block.js";

const NOTE_NAME = "Xen";
const XEN_ELFNOTE_PHYS32_ENTRY = 18;

/** The entry point the file's note names; undefined when it has no such note. Throws BootError when it is malformed. */
export function findPvhEntry(elf: ElfImage): number | undefined {
  const note = elf.notes.find(({ name, type }) => name === NOTE_NAME && type === XEN_ELFNOTE_PHYS32_ENTRY);
  if (note === undefined) return undefined;
  const { desc } = note;
  const view = new DataView(desc.buffer, desc.byteOffset, desc.byteLength);
  // The note is as wide as the kernel's own pointers, but the entry is in 32-bit mode.
  const high = desc.length === 8 ? view.getUint32(4, true) : 0;
  if ((desc.length !== 4 && desc.length !== 8) || high !== 0) {
    throw new BootError("its PVH note holds no 32-bit address");
  }
  return view.getUint32(0, true);
}

const START_INFO_MAGIC = 0x336ec578;
/** Version 1 added the memory map. */
const START_INFO_VERSION = 1;
const START_INFO_BYTES = 56;
const MODULE_BYTES = 32;
const MEMORY_MAP_ENTRY_BYTES = 24;

/** Builds the start info with all it points at, as one block to be written at `gpa`. */
export function buildStartInfo(contents: InfoContents, gpa: number): Uint8Array {
  const block = new InfoBlock(gpa);
  const info = block.reserve(START_INFO_BYTES);
  const modules = block.reserve(MODULE_BYTES * contents.modules.length);
  const memoryMap = block.reserve(MEMORY_MAP_ENTRY_BYTES * contents.memoryMap.length);
  info
    .u32(0, START_INFO_MAGIC)
    .u32(4, START_INFO_VERSION)
    .u32(12, contents.modules.length)
    .u64(16, contents.modules.length === 0 ? 0 : modules.gpa)
    .u64(24, block.string(contents.commandLine))
    .u64(32, contents.rsdp)
    .u64(40, memoryMap.gpa)
    .u32(48, contents.memoryMap.length);
  contents.modules.forEach((module, index) => {
    modules
      .u64(MODULE_BYTES * index, module.gpa)
      .u64(MODULE_BYTES * index + 8, module.sizeBytes)
      .u64(MODULE_BYTES * index + 16, module.commandLine === "" ? 0 : block.string(module.commandLine));
  });
  contents.memoryMap.forEach((entry, index) => {
    memoryMap
      .u64(MEMORY_MAP_ENTRY_BYTES * index, entry.addr)
      .u64(MEMORY_MAP_ENTRY_BYTES * index + 8, entry.size)
      .u32(MEMORY_MAP_ENTRY_BYTES * index + 16, entry.type);
  });
  return block.bytes();
}
