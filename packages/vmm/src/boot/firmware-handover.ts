/**
 * What firmware is given of a kernel, as items of fw_cfg: what QEMU gives it for `-kernel`, so that one ROM serves both
 * (QEMU, docs/specs/fw_cfg.rst). There is one exception: a PVH kernel comes as its whole file, where QEMU has put it into
 * memory before the firmware runs.
 */
import { FW_CFG_KEY, u32 } from "../devices/fw-cfg/items.js";
import { E820, type E820Entry } from "../machine/memory-map.js";
import { formatSize } from "../machine/spec.js";
import { BootError } from "./errors.js";
import { FreeMemory } from "./free-memory.js";
import type { KernelImage } from "./kernel-image.js";
import { concatenateInitrds } from "./linux/initrd.js";
import { type BootModule, loadKernel, type RamWriter } from "./load.js";

export interface HandoverOptions {
  readonly image: KernelImage;
  readonly commandLine: string;
  readonly modules: readonly BootModule[];
  readonly memoryMap: readonly E820Entry[];
  readonly memoryBytes: number;
}

export type KernelItem = readonly [key: number, bytes: Uint8Array];

/** Memory that firmware works in until the kernel runs, below everything that a loader places. */
const FIRMWARE_WORK: E820Entry = { addr: 0, size: 0x8000, type: E820.RESERVED };
/** What a BIOS keeps for itself at the end of RAM below 4 GiB, tables included; where ours puts tables too. */
const FIRMWARE_KEEPS_BYTES = 512 * 1024;
/** Firmware recognises a kernel by this much of its file. */
const SETUP_BYTES = 8192;
/** Where our ROM puts it there is room for this many, the terminating zero included. */
const COMMAND_LINE_MAX_BYTES = 0xfff0;
/** What a multiboot kernel and its modules span in memory is one item. */
const SPAN_MAX_BYTES = 2 ** 30;
const PAGE_BYTES = 4096;

/** Throws BootError when the kernel is of a kind that firmware cannot be given, or when it does not fit into memory. */
export function kernelItems(options: HandoverOptions): KernelItem[] {
  const { image } = options;
  if (image.protocol === "multiboot") return multibootItems(options);
  if (image.protocol === "pvh") return pvhItems(options);
  if (image.linux?.setupHeader !== undefined) return linuxItems(options);
  throw new BootError(`${image.path}: firmware boots no vmlinux without a PVH note; give it the bzImage`);
}

/** The bzImage's real-mode part, which has the setup header, and the rest of it, as the file has them. */
function linuxItems(options: HandoverOptions): KernelItem[] {
  const { image } = options;
  const { gpa, bytes } = image.segments[0]!;
  const setup = image.file.subarray(0, bytes.byteOffset - image.file.byteOffset);
  return [
    [FW_CFG_KEY.KERNEL_ADDR, u32(gpa)],
    ...sized(FW_CFG_KEY.KERNEL_SIZE, FW_CFG_KEY.KERNEL_DATA, bytes),
    ...sized(FW_CFG_KEY.SETUP_SIZE, FW_CFG_KEY.SETUP_DATA, setup),
    ...initrdItems(options),
    ...commandLineItems(options),
  ];
}

function pvhItems(options: HandoverOptions): KernelItem[] {
  const { image } = options;
  return [
    [FW_CFG_KEY.KERNEL_ENTRY, u32(image.entry)],
    ...sized(FW_CFG_KEY.KERNEL_SIZE, FW_CFG_KEY.KERNEL_DATA, image.file),
    ...sized(FW_CFG_KEY.SETUP_SIZE, FW_CFG_KEY.SETUP_DATA, image.file.subarray(0, SETUP_BYTES)),
    ...initrdItems(options),
    ...commandLineItems(options),
  ];
}

/** Everything but the information structure is the kernel; the structure is where a ramdisk would be. */
function multibootItems(options: HandoverOptions): KernelItem[] {
  const { image, memoryBytes, memoryMap } = options;
  const memory = new RecordingRam(memoryBytes);
  const entry = loadKernel({ ...options, memory, memoryMap: [FIRMWARE_WORK, ...memoryMap] });
  if (entry.protocol === "linux") throw new TypeError("a multiboot kernel is entered in flat protected mode");
  const information = memory.writes.find(({ gpa }) => gpa === entry.ebx)!;
  const { gpa, bytes } = asOne(
    memory.writes.filter((write) => write !== information),
    image,
  );
  return [
    [FW_CFG_KEY.KERNEL_ADDR, u32(gpa)],
    [FW_CFG_KEY.KERNEL_ENTRY, u32(entry.rip)],
    ...sized(FW_CFG_KEY.KERNEL_SIZE, FW_CFG_KEY.KERNEL_DATA, bytes),
    [FW_CFG_KEY.INITRD_ADDR, u32(information.gpa)],
    ...sized(FW_CFG_KEY.INITRD_SIZE, FW_CFG_KEY.INITRD_DATA, information.bytes),
  ];
}

interface Write {
  readonly gpa: number;
  readonly sizeBytes: number;
  /** Fewer than `sizeBytes` when the rest is zeros. */
  readonly bytes: Uint8Array;
}

/** RAM that is only written to on paper. */
class RecordingRam implements RamWriter {
  readonly sizeBytes: number;
  readonly writes: Write[] = [];

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
  }

  write(gpa: number, bytes: Uint8Array): void {
    this.writes.push({ gpa, sizeBytes: bytes.length, bytes });
  }

  zero(gpa: number, sizeBytes: number): void {
    this.writes.push({ gpa, sizeBytes, bytes: new Uint8Array(0) });
  }
}

function asOne(writes: readonly Write[], { path }: KernelImage): { gpa: number; bytes: Uint8Array } {
  const start = Math.min(...writes.map(({ gpa }) => gpa));
  const end = Math.max(...writes.map(({ gpa, sizeBytes }) => gpa + sizeBytes));
  if (end - start > SPAN_MAX_BYTES) {
    throw new BootError(
      `${path}: its parts are ${formatSize(end - start)} apart, and firmware takes them in one piece`,
    );
  }
  const bytes = new Uint8Array(end - start);
  for (const write of writes) bytes.set(write.bytes, write.gpa - start);
  return { gpa: start, bytes };
}

function sized(sizeKey: number, dataKey: number, bytes: Uint8Array): KernelItem[] {
  return [
    [sizeKey, u32(bytes.length)],
    [dataKey, bytes],
  ];
}

/** As high as firmware lets it be, out of the way of whatever the kernel does around itself. */
function initrdItems({ image, modules, memoryMap, memoryBytes }: HandoverOptions): KernelItem[] {
  if (modules.length > 1 && image.linux === undefined) {
    throw new BootError(`${image.path}: firmware passes one module on to a PVH kernel, not ${modules.length}`);
  }
  const [initrd] = concatenateInitrds(modules);
  if (initrd === undefined || initrd.bytes.length === 0) return [];
  const free = new FreeMemory([FIRMWARE_WORK, ...memoryMap]);
  for (const { gpa, memorySizeBytes } of image.segments) free.take(gpa, Math.max(memorySizeBytes, roomOf(image)));
  free.takeHighest(FIRMWARE_KEEPS_BYTES, PAGE_BYTES, 2 ** 32);
  const gpa = free.takeHighest(initrd.bytes.length, PAGE_BYTES, (image.linux?.initrdAddrMax ?? 2 ** 32 - 1) + 1);
  if (gpa === undefined) {
    const sizes = `${formatSize(initrd.bytes.length)} in ${formatSize(memoryBytes)}`;
    throw new BootError(`${image.path}: no room for the initial ramdisk, ${sizes} of memory`);
  }
  return [[FW_CFG_KEY.INITRD_ADDR, u32(gpa)], ...sized(FW_CFG_KEY.INITRD_SIZE, FW_CFG_KEY.INITRD_DATA, initrd.bytes)];
}

const roomOf = ({ room }: KernelImage): number => room?.sizeBytes ?? 0;

function commandLineItems({ image, commandLine }: HandoverOptions): KernelItem[] {
  const most = Math.min(image.linux?.cmdlineSize ?? COMMAND_LINE_MAX_BYTES, COMMAND_LINE_MAX_BYTES);
  const bytes = new TextEncoder().encode(`${commandLine}\0`);
  if (bytes.length - 1 > most) {
    throw new BootError(`${image.path}: a command line of ${bytes.length - 1} bytes, and this kernel takes ${most}`);
  }
  return sized(FW_CFG_KEY.CMDLINE_SIZE, FW_CFG_KEY.CMDLINE_DATA, bytes);
}
