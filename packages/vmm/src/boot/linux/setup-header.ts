/**
 * The setup header of a Linux bzImage (Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"): what the
 * kernel says of itself to whoever loads it. Every field is checked before it is believed.
 */
import { BootError } from "../errors.js";

/** Where the header's fields are, in the file as in boot_params. */
export const SETUP = {
  SETUP_SECTS: 0x1f1,
  SYSSIZE: 0x1f4,
  BOOT_FLAG: 0x1fe,
  /** The distance of the jump over the header: the header ends there. */
  JUMP_DISTANCE: 0x201,
  HEADER: 0x202,
  VERSION: 0x206,
  TYPE_OF_LOADER: 0x210,
  LOADFLAGS: 0x211,
  RAMDISK_IMAGE: 0x218,
  RAMDISK_SIZE: 0x21c,
  HEAP_END_PTR: 0x224,
  CMD_LINE_PTR: 0x228,
  INITRD_ADDR_MAX: 0x22c,
  KERNEL_ALIGNMENT: 0x230,
  RELOCATABLE_KERNEL: 0x234,
  XLOADFLAGS: 0x236,
  CMDLINE_SIZE: 0x238,
  PREF_ADDRESS: 0x258,
  INIT_SIZE: 0x260,
} as const;

export const BOOT_FLAG = 0xaa55;
/** "HdrS" */
export const HEADER_MAGIC = 0x5372_6448;
export const LOADED_HIGH = 1 << 0;
const XLF_KERNEL_64 = 1 << 0;
/** Version 2.12 added xloadflags, and with them the word that there is an entry in long mode. */
const VERSION_WITH_64_BIT_ENTRY = 0x020c;

const SECTOR_BYTES = 512;
/** From the time when the field was not yet filled in. */
const DEFAULT_SETUP_SECTS = 4;
const SYSSIZE_UNIT_BYTES = 16;
/** The header begins at the first field that the kernel may fill in. */
export const HEADER_START = SETUP.SETUP_SECTS;
/** boot_params has room up to here; a header that grows beyond it is cut. */
const HEADER_ROOM_END = 0x290;
/** All of version 2.12's fields. */
const HEADER_END_OF_2_12 = 0x264;

/** In the protected-mode kernel, at this distance from its load address, is the 64-bit entry (boot.rst, "64-bit Boot Protocol"). */
export const ENTRY_64_OFFSET = 0x200;

export interface SetupHeader {
  /** 0x020f is version 2.15. */
  readonly version: number;
  /** The header's own bytes, from HEADER_START on. */
  readonly bytes: Uint8Array;
  /** The protected-mode kernel: a view into the file. */
  readonly kernel: Uint8Array;
  readonly relocatable: boolean;
  /** Where the kernel wants to be; a relocatable one may be at any multiple of `alignBytes` above it. */
  readonly prefAddress: number;
  readonly alignBytes: number;
  /** Bytes from the load address on that the kernel uses before it looks at the memory map. */
  readonly initSizeBytes: number;
  /** The longest command line, without its terminating zero. */
  readonly cmdlineSize: number;
  /** The highest address of the initial ramdisk's last byte. */
  readonly initrdAddrMax: number;
}

/** The boot sector's signature and the header's. */
export function isBzImage(file: Uint8Array): boolean {
  if (file.length < SETUP.VERSION) return false;
  const view = viewOf(file);
  return view.getUint16(SETUP.BOOT_FLAG, true) === BOOT_FLAG && view.getUint32(SETUP.HEADER, true) === HEADER_MAGIC;
}

/** Reads and checks the header of a file that `isBzImage`. Throws BootError when it cannot be entered in long mode. */
export function parseSetupHeader(file: Uint8Array): SetupHeader {
  if (file.length < HEADER_END_OF_2_12) {
    throw new BootError(`truncated: a Linux bzImage of ${file.length} bytes, which end within its setup header`);
  }
  const view = viewOf(file);
  const version = view.getUint16(SETUP.VERSION, true);
  checkEntry(version, view);
  const alignBytes = view.getUint32(SETUP.KERNEL_ALIGNMENT, true);
  const prefAddress = Number(view.getBigUint64(SETUP.PREF_ADDRESS, true));
  const initSizeBytes = view.getUint32(SETUP.INIT_SIZE, true);
  const kernel = protectedModeKernel(file, view);
  checkPlacement({ alignBytes, prefAddress, initSizeBytes, kernelBytes: kernel.length });
  return {
    version,
    bytes: file.subarray(HEADER_START, headerEnd(file)),
    kernel,
    relocatable: file[SETUP.RELOCATABLE_KERNEL] !== 0,
    prefAddress,
    alignBytes,
    initSizeBytes,
    cmdlineSize: view.getUint32(SETUP.CMDLINE_SIZE, true),
    initrdAddrMax: view.getUint32(SETUP.INITRD_ADDR_MAX, true),
  };
}

function checkEntry(version: number, view: DataView): void {
  const name = `${version >> 8}.${String(version & 0xff).padStart(2, "0")}`;
  if (version < VERSION_WITH_64_BIT_ENTRY) {
    throw new BootError(`a Linux bzImage of boot protocol ${name}; the 64-bit entry came with 2.12 (Linux 3.8)`);
  }
  if ((view.getUint8(SETUP.LOADFLAGS) & LOADED_HIGH) === 0) throw new BootError("a Linux zImage, not a bzImage");
  if ((view.getUint16(SETUP.XLOADFLAGS, true) & XLF_KERNEL_64) === 0) {
    throw new BootError("a 32-bit Linux kernel: it has no 64-bit entry");
  }
}

function protectedModeKernel(file: Uint8Array, view: DataView): Uint8Array {
  const setupSects = file[SETUP.SETUP_SECTS]! || DEFAULT_SETUP_SECTS;
  const start = (1 + setupSects) * SECTOR_BYTES;
  const end = start + view.getUint32(SETUP.SYSSIZE, true) * SYSSIZE_UNIT_BYTES;
  if (end > file.length) {
    throw new BootError(`truncated: its setup header promises ${end} bytes, and the file has ${file.length}`);
  }
  // What follows is a signature for firmware that asks for one.
  return file.subarray(start, end);
}

interface Placement {
  readonly alignBytes: number;
  readonly prefAddress: number;
  readonly initSizeBytes: number;
  readonly kernelBytes: number;
}

function checkPlacement({ alignBytes, prefAddress, initSizeBytes, kernelBytes }: Placement): void {
  if (kernelBytes <= ENTRY_64_OFFSET) throw new BootError("its setup header leaves no kernel to load");
  if (alignBytes < 0x1000 || (alignBytes & (alignBytes - 1)) !== 0) {
    throw new BootError(`its setup header asks for an alignment of ${alignBytes} bytes`);
  }
  if (initSizeBytes < kernelBytes) {
    throw new BootError(
      `its setup header says that ${kernelBytes} bytes of kernel need ${initSizeBytes} bytes of memory`,
    );
  }
  if (prefAddress + initSizeBytes > 2 ** 32) {
    throw new BootError(`it wants to be loaded beyond 4 GiB, at 0x${prefAddress.toString(16)}`);
  }
}

/** The header ends where the jump before it leads; never within what has been read of it. */
function headerEnd(file: Uint8Array): number {
  const end = SETUP.JUMP_DISTANCE + 1 + file[SETUP.JUMP_DISTANCE]!;
  return Math.min(Math.max(end, HEADER_END_OF_2_12), HEADER_ROOM_END, file.length);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
