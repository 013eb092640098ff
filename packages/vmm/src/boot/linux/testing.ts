/** A bzImage made to measure, for tests. */
import { BOOT_FLAG, ENTRY_64_OFFSET, HEADER_MAGIC, SETUP } from "./setup-header.js";

export interface TestBzImage {
  readonly version?: number;
  readonly loadflags?: number;
  readonly xloadflags?: number;
  readonly setupSects?: number;
  readonly relocatable?: boolean;
  readonly alignBytes?: number;
  readonly prefAddress?: number;
  readonly initSizeBytes?: number;
  readonly cmdlineSize?: number;
  readonly initrdAddrMax?: number;
  /** What is run at the 64-bit entry. */
  readonly code?: readonly number[];
}

const SECTOR_BYTES = 512;

export function buildBzImage({
  version = 0x020f,
  loadflags = 1,
  xloadflags = 1,
  setupSects = 1,
  relocatable = true,
  alignBytes = 0x20_0000,
  prefAddress = 0x100_0000,
  initSizeBytes = 0x10_0000,
  cmdlineSize = 2047,
  initrdAddrMax = 0x7fff_ffff,
  code = [0xf4],
}: TestBzImage = {}): Uint8Array {
  const kernelBytes = Math.ceil((ENTRY_64_OFFSET + code.length) / 16) * 16;
  const start = (1 + setupSects) * SECTOR_BYTES;
  const file = new Uint8Array(start + kernelBytes);
  const view = new DataView(file.buffer);
  view.setUint8(SETUP.SETUP_SECTS, setupSects);
  view.setUint32(SETUP.SYSSIZE, kernelBytes / 16, true);
  view.setUint16(SETUP.BOOT_FLAG, BOOT_FLAG, true);
  view.setUint8(SETUP.JUMP_DISTANCE, 0x6a);
  view.setUint32(SETUP.HEADER, HEADER_MAGIC, true);
  view.setUint16(SETUP.VERSION, version, true);
  view.setUint8(SETUP.LOADFLAGS, loadflags);
  view.setUint32(SETUP.INITRD_ADDR_MAX, initrdAddrMax, true);
  view.setUint32(SETUP.KERNEL_ALIGNMENT, alignBytes, true);
  view.setUint8(SETUP.RELOCATABLE_KERNEL, relocatable ? 1 : 0);
  view.setUint16(SETUP.XLOADFLAGS, xloadflags, true);
  view.setUint32(SETUP.CMDLINE_SIZE, cmdlineSize, true);
  view.setBigUint64(SETUP.PREF_ADDRESS, BigInt(prefAddress), true);
  view.setUint32(SETUP.INIT_SIZE, initSizeBytes, true);
  file.set(code, start + ENTRY_64_OFFSET);
  return file;
}

/** 64-bit code that sends the command line to COM1 and powers off; it finds both by what RSI points at. */
export const PRINT_COMMAND_LINE: readonly number[] = [
  ...[0x8b, 0xbe, 0x28, 0x02, 0x00, 0x00], // mov edi, [rsi + 0x228]
  ...[0x66, 0xba, 0xf8, 0x03], // mov dx, 0x3f8
  ...[0x8a, 0x07, 0x84, 0xc0, 0x74, 0x05], // 1: mov al, [rdi]; test al, al; jz 2f
  ...[0xee, 0xff, 0xc7, 0xeb, 0xf5], // out dx, al; inc edi; jmp 1b
  ...[0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef, 0xf4], // 2: power off
];
