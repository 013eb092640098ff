import type { E820Entry } from "../machine/memory-map.js";
import { formatSize } from "../machine/spec.js";
import { BootError } from "./errors.js";
import { FreeMemory } from "./free-memory.js";
import type { InfoContents, PlacedModule } from "./info-block.js";
import { hex, type KernelImage } from "./kernel-image.js";
import { buildMultibootInfo, MULTIBOOT_BOOTLOADER_MAGIC } from "./multiboot.js";
import { buildStartInfo } from "./pvh.js";

/** Guest RAM, as far as a loader needs it. */
export interface RamWriter {
  readonly sizeBytes: number;
  write(gpa: number, bytes: Uint8Array): void;
  zero(gpa: number, sizeBytes: number): void;
}

export interface BootModule {
  readonly bytes: Uint8Array;
  readonly commandLine: string;
}

export interface LoadOptions {
  readonly image: KernelImage;
  readonly commandLine: string;
  readonly modules: readonly BootModule[];
  readonly memory: RamWriter;
  readonly memoryMap: readonly E820Entry[];
  /** Physical address of the ACPI root pointer, for protocols that pass it on. */
  readonly rsdp?: number;
}

/** Where and how the first vCPU starts: flat 32-bit protected mode, no paging. Plain JSON. */
export interface BootEntry {
  readonly protocol: KernelImage["protocol"];
  readonly rip: number;
  readonly eax: number;
  readonly ebx: number;
}

const PAGE_BYTES = 4096;
const MIB = 2 ** 20;
/** Firmware's tables are found below this; the information structures stay below it too when they fit. */
const LOW_MEMORY_END = MIB;

/**
 * Puts a kernel, its modules and its information structures into guest RAM. Everything is placed before anything is
 * written, so a BootError leaves the memory as it was.
 *
 * The information structures go as high as possible below 640 KiB, away from the trampolines that kernels copy low;
 * modules go on whole pages behind the kernel.
 */
export function loadKernel(options: LoadOptions): BootEntry {
  const { image, memory } = options;
  const free = new FreeMemory(options.memoryMap);
  const fail = (what: string): never => {
    throw new BootError(`${image.path}: ${what} in ${formatSize(memory.sizeBytes)} of memory`);
  };
  for (const { gpa, memorySizeBytes } of image.segments) {
    if (!free.take(gpa, memorySizeBytes))
      fail(`the kernel needs ${formatSize(memorySizeBytes)} at ${hex(gpa)}, which is not free`);
  }
  const modules = options.modules.map(({ bytes, commandLine }, index): PlacedModule => {
    const gpa =
      placeModule(free, image, bytes.length) ?? fail(`no room for module ${index + 1} (${formatSize(bytes.length)})`);
    return { gpa, sizeBytes: bytes.length, commandLine };
  });
  const build = image.protocol === "pvh" ? buildStartInfo : buildMultibootInfo;
  const contents: InfoContents = {
    commandLine: commandLineFor(image, options.commandLine),
    modules,
    memoryMap: options.memoryMap,
    rsdp: options.rsdp ?? 0,
  };
  const infoSizeBytes = build(contents, 0).length;
  const infoGpa =
    free.takeHighest(infoSizeBytes, 16, LOW_MEMORY_END) ??
    free.takeHighest(infoSizeBytes, 16, Number.POSITIVE_INFINITY) ??
    fail(`no room for the boot information (${formatSize(infoSizeBytes)})`);

  for (const { gpa, bytes, memorySizeBytes } of image.segments) {
    memory.write(gpa, bytes);
    if (memorySizeBytes > bytes.length) memory.zero(gpa + bytes.length, memorySizeBytes - bytes.length);
  }
  options.modules.forEach(({ bytes }, index) => {
    memory.write(modules[index]!.gpa, bytes);
  });
  memory.write(infoGpa, build(contents, infoGpa));
  const eax = image.protocol === "multiboot" ? MULTIBOOT_BOOTLOADER_MAGIC : 0;
  return { protocol: image.protocol, rip: image.entry, eax, ebx: infoGpa };
}

/** Behind the kernel if possible, else in any gap above 1 MiB, else below. */
function placeModule(free: FreeMemory, image: KernelImage, sizeBytes: number): number | undefined {
  const last = image.segments[image.segments.length - 1]!;
  const floors = [Math.max(last.gpa + last.memorySizeBytes, MIB), MIB, 0];
  // An empty module still gets an address of its own.
  const room = Math.max(sizeBytes, 1);
  for (const floor of floors) {
    const gpa = free.takeLowest(room, PAGE_BYTES, floor);
    if (gpa !== undefined) return gpa;
  }
  return undefined;
}

/** A multiboot kernel finds its own name first, as argv[0]; one started by PVH finds only what it was given. */
function commandLineFor(image: KernelImage, commandLine: string): string {
  if (image.protocol === "pvh") return commandLine;
  const name = image.path.slice(image.path.lastIndexOf("/") + 1).replaceAll(/\s/g, "_");
  return commandLine === "" ? name : `${name} ${commandLine}`;
}
