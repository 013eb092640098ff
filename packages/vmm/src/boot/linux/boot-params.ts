/**
 * What Linux finds in memory when it is entered in long mode (Linux, Documentation/arch/x86/boot.rst, "64-bit Boot
 * Protocol", and zero-page.rst): boot_params with its memory map, the command line, page tables that map the first four
 * gigabytes to themselves, and the descriptor table that the segment registers were loaded from.
 */
import type { E820Entry } from "../../machine/memory-map.js";
import { InfoBlock } from "../info-block.js";
import { BOOT_FLAG, HEADER_MAGIC, HEADER_START, LOADED_HIGH, SETUP } from "./setup-header.js";

/** Field offsets of boot_params outside of the setup header (zero-page.rst). */
const PARAMS = { ACPI_RSDP_ADDR: 0x070, E820_ENTRIES: 0x1e8, E820_TABLE: 0x2d0 } as const;
const PARAMS_BYTES = 4096;
const E820_ENTRY_BYTES = 20;
/** boot_params has room for these; more would need setup_data. */
export const MAXIMUM_E820_ENTRIES = 128;
/** "An unassigned loader" (boot.rst, type_of_loader). */
const UNDEFINED_LOADER = 0xff;
/** What a kernel without a header of its own is told that we speak: 2.12, the first with a 64-bit entry. */
const VERSION_WITHOUT_HEADER = 0x020c;

/** Selectors that the protocol fixes, and their descriptors: flat code in long mode, flat data (Intel SDM vol 3, 3.4.5). */
export const BOOT_CS = 0x10;
export const BOOT_DS = 0x18;
const CODE_DESCRIPTOR = 0x00af_9b00_0000_ffffn;
const DATA_DESCRIPTOR = 0x00cf_9300_0000_ffffn;
const GDT_BYTES = 32;

const TABLE_BYTES = 4096;
const TABLE_ENTRIES = 512;
const MAPPED_GIB = 4;
const PAGE_2_MIB = 2 ** 21;
/** Page table entry bits (Intel SDM vol 3, 4.5): present, writable, and a page of 2 MiB. */
const ENTRY_P_RW = 0x03;
const ENTRY_P_RW_PS = 0x83;

export interface LinuxHandover {
  readonly commandLine: string;
  /** The setup header of a bzImage; a plain ELF file has none. */
  readonly setupHeader: Uint8Array | undefined;
  readonly initrd: { readonly gpa: number; readonly sizeBytes: number } | undefined;
  readonly memoryMap: readonly E820Entry[];
  /** 0 when there is none. */
  readonly rsdp: number;
}

export interface BuiltHandover {
  /** To be written at the address it was built for, which is a multiple of 4 KiB. */
  readonly bytes: Uint8Array;
  readonly bootParamsGpa: number;
  readonly pageTableGpa: number;
  readonly gdt: { readonly gpa: number; readonly sizeBytes: number };
}

/** Builds all of it as one block for `gpa`, whose length does not depend on `gpa`. */
export function buildHandover(contents: LinuxHandover, gpa: number): BuiltHandover {
  const block = new InfoBlock(gpa);
  const pageTableGpa = addIdentityMap(block);
  const params = block.reserve(PARAMS_BYTES);
  const gdt = block.reserve(GDT_BYTES);
  gdt.u64(BOOT_CS, CODE_DESCRIPTOR).u64(BOOT_DS, DATA_DESCRIPTOR);
  const { setupHeader, initrd, memoryMap, rsdp } = contents;
  if (setupHeader !== undefined) params.bytes.set(setupHeader, HEADER_START);
  else
    params.u16(SETUP.BOOT_FLAG, BOOT_FLAG).u32(SETUP.HEADER, HEADER_MAGIC).u16(SETUP.VERSION, VERSION_WITHOUT_HEADER);
  params
    .u8(SETUP.TYPE_OF_LOADER, UNDEFINED_LOADER)
    .u8(SETUP.LOADFLAGS, (params.bytes[SETUP.LOADFLAGS]! | LOADED_HIGH) & 0xff)
    .u32(SETUP.CMD_LINE_PTR, block.string(contents.commandLine))
    .u32(SETUP.RAMDISK_IMAGE, initrd?.gpa ?? 0)
    .u32(SETUP.RAMDISK_SIZE, initrd?.sizeBytes ?? 0)
    .u64(PARAMS.ACPI_RSDP_ADDR, rsdp)
    .u8(PARAMS.E820_ENTRIES, memoryMap.length);
  memoryMap.forEach(({ addr, size, type }, index) => {
    const entry = PARAMS.E820_TABLE + E820_ENTRY_BYTES * index;
    params
      .u64(entry, addr)
      .u64(entry + 8, size)
      .u32(entry + 16, type);
  });
  return { bytes: block.bytes(), bootParamsGpa: params.gpa, pageTableGpa, gdt: { gpa: gdt.gpa, sizeBytes: GDT_BYTES } };
}

/** A table of level 4, one of level 3, and one of level 2 for each gigabyte. Returns the address for CR3. */
function addIdentityMap(block: InfoBlock): number {
  const level4 = block.reserve(TABLE_BYTES);
  const level3 = block.reserve(TABLE_BYTES);
  level4.u64(0, level3.gpa + ENTRY_P_RW);
  for (let gib = 0; gib < MAPPED_GIB; gib++) {
    const level2 = block.reserve(TABLE_BYTES);
    level3.u64(8 * gib, level2.gpa + ENTRY_P_RW);
    for (let index = 0; index < TABLE_ENTRIES; index++) {
      level2.u64(8 * index, (gib * TABLE_ENTRIES + index) * PAGE_2_MIB + ENTRY_P_RW_PS);
    }
  }
  return level4.gpa;
}
