/** How a Linux kernel's file becomes an image to load: a bzImage by its setup header, a vmlinux by its ELF headers. */
import type { ElfImage } from "../elf.js";
import type { KernelImage, LinuxTraits } from "../kernel-image.js";
import { ENTRY_64_OFFSET, parseSetupHeader } from "./setup-header.js";

/** COMMAND_LINE_SIZE of x86 less the terminating zero, for kernels without a header that says so. */
const COMMAND_LINE_MAX = 2047;
/** The header's usual value: the last byte below 2 GiB. */
const INITRD_ADDR_MAX = 0x7fff_ffff;

/** What every Linux that has no setup header is taken for. */
export const ELF_TRAITS: LinuxTraits = { cmdlineSize: COMMAND_LINE_MAX, initrdAddrMax: INITRD_ADDR_MAX };

/** Linux's own notes have this owner since 4.19; before that, only the banner tells. */
const NOTE_NAME = "Linux";
const BANNER = "Linux version ";

/** Whether an ELF file is a Linux kernel: others may be entered the same way, but are told different things. */
export function isLinuxElf(elf: ElfImage, file: Uint8Array): boolean {
  if (elf.notes.some(({ name }) => name === NOTE_NAME)) return true;
  return Buffer.from(file.buffer, file.byteOffset, file.byteLength).includes(BANNER, 0, "latin1");
}

/** A bzImage, entered at its 64-bit entry. Throws BootError. */
export function bzImage(file: Uint8Array): Omit<KernelImage, "path" | "file"> {
  const header = parseSetupHeader(file);
  const { prefAddress, kernel, initSizeBytes, alignBytes, cmdlineSize, initrdAddrMax } = header;
  return {
    protocol: "linux",
    entry: prefAddress + ENTRY_64_OFFSET,
    segments: [{ gpa: prefAddress, bytes: kernel, memorySizeBytes: kernel.length }],
    room: { sizeBytes: initSizeBytes, ...(header.relocatable ? { alignBytes } : {}) },
    linux: { cmdlineSize, initrdAddrMax, setupHeader: header.bytes },
  };
}
