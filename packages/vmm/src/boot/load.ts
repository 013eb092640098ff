import type { E820Entry } from "../machine/memory-map.js";
import { formatSize } from "../machine/spec.js";
import { BootError } from "./errors.js";
import { FreeMemory } from "./free-memory.js";
import type { InfoContents, PlacedModule } from "./info-block.js";
import { hex, type KernelImage, type Segment } from "./kernel-image.js";
import { type BuiltHandover, buildHandover, MAXIMUM_E820_ENTRIES } from "./linux/boot-params.js";
import { concatenateInitrds } from "./linux/initrd.js";
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

/** Flat 32-bit protected mode, no paging. */
export interface FlatEntry {
  readonly protocol: "multiboot" | "pvh";
  readonly rip: number;
  readonly eax: number;
  readonly ebx: number;
}

/** Long mode, with page tables that map the first four gigabytes to themselves. */
export interface LinuxEntry {
  readonly protocol: "linux";
  readonly rip: number;
  /** The address of boot_params. */
  readonly rsi: number;
  readonly cr3: number;
  readonly gdt: { readonly gpa: number; readonly sizeBytes: number };
}

/** Where and how the first vCPU starts. Plain JSON. */
export type BootEntry = FlatEntry | LinuxEntry;

const PAGE_BYTES = 4096;
const MIB = 2 ** 20;
/** Firmware's tables are found below this; the information structures stay below it too when they fit. */
const LOW_MEMORY_END = MIB;
/**
 * Linux's structures begin here, above the 64 KiB that it leaves to a BIOS, and far below the top of conventional
 * memory, which its decompressor takes for a trampoline while it still runs on the loader's page tables.
 */
const LINUX_STRUCTURES_FLOOR = 0x1_0000;

/**
 * Puts a kernel, its modules and its information structures into guest RAM. Everything is placed before anything is
 * written, so a BootError leaves the memory as it was.
 */
export function loadKernel(options: LoadOptions): BootEntry {
  const loader = new Loader(options);
  const { protocol } = options.image;
  return protocol === "linux" ? loader.linux() : loader.flat(protocol);
}

class Loader {
  readonly #options: LoadOptions;
  readonly #free: FreeMemory;
  /** How far the kernel is moved from where it wanted to be. */
  readonly #shift: number;
  readonly #segments: readonly Segment[];
  readonly #modules: readonly BootModule[];
  readonly #placed: readonly PlacedModule[];

  constructor(options: LoadOptions) {
    const { image } = options;
    this.#options = options;
    this.#checkCommandLine();
    this.#free = new FreeMemory(options.memoryMap);
    this.#shift = this.#placeKernel();
    this.#segments = image.segments.map((segment) => ({ ...segment, gpa: segment.gpa + this.#shift }));
    this.#modules = image.linux === undefined ? options.modules : concatenateInitrds(options.modules);
    this.#placed = this.#modules.map(({ bytes, commandLine }, index): PlacedModule => {
      const gpa =
        this.#placeModule(bytes.length) ?? this.#fail(`no room for module ${index + 1} (${formatSize(bytes.length)})`);
      return { gpa, sizeBytes: bytes.length, commandLine };
    });
  }

  /** As high as possible below 640 KiB, away from the trampolines that kernels copy low. */
  flat(protocol: "multiboot" | "pvh"): FlatEntry {
    const { image, memoryMap, rsdp = 0, commandLine } = this.#options;
    const build = protocol === "pvh" ? buildStartInfo : buildMultibootInfo;
    const contents: InfoContents = {
      commandLine: protocol === "pvh" ? commandLine : withName(image.path, commandLine),
      modules: this.#placed,
      memoryMap,
      rsdp,
    };
    const sizeBytes = build(contents, 0).length;
    const gpa =
      this.#free.takeHighest(sizeBytes, 16, LOW_MEMORY_END) ??
      this.#free.takeHighest(sizeBytes, 16, Number.POSITIVE_INFINITY) ??
      this.#noRoomForStructures(sizeBytes);
    this.#write();
    this.#options.memory.write(gpa, build(contents, gpa));
    return { protocol, rip: image.entry, eax: protocol === "multiboot" ? MULTIBOOT_BOOTLOADER_MAGIC : 0, ebx: gpa };
  }

  linux(): LinuxEntry {
    const { image, memoryMap, rsdp = 0, commandLine, memory } = this.#options;
    if (memoryMap.length > MAXIMUM_E820_ENTRIES) this.#fail(`no room for a map of ${memoryMap.length} ranges`);
    const build = (gpa: number): BuiltHandover =>
      buildHandover(
        { commandLine, setupHeader: image.linux?.setupHeader, initrd: this.#placed[0], memoryMap, rsdp },
        gpa,
      );
    const sizeBytes = build(0).bytes.length;
    const gpa =
      this.#free.takeLowest(sizeBytes, PAGE_BYTES, LINUX_STRUCTURES_FLOOR) ?? this.#noRoomForStructures(sizeBytes);
    const { bytes, bootParamsGpa, pageTableGpa, gdt } = build(gpa);
    this.#write();
    memory.write(gpa, bytes);
    return { protocol: "linux", rip: image.entry + this.#shift, rsi: bootParamsGpa, cr3: pageTableGpa, gdt };
  }

  #fail(what: string): never {
    const { image, memory } = this.#options;
    throw new BootError(`${image.path}: ${what} in ${formatSize(memory.sizeBytes)} of memory`);
  }

  #noRoomForStructures(sizeBytes: number): never {
    return this.#fail(`no room for the boot information (${formatSize(sizeBytes)})`);
  }

  #checkCommandLine(): void {
    const { image, commandLine } = this.#options;
    const most = image.linux?.cmdlineSize ?? Number.POSITIVE_INFINITY;
    const sizeBytes = Buffer.byteLength(commandLine);
    if (sizeBytes > most) {
      throw new BootError(`${image.path}: a command line of ${sizeBytes} bytes, and this kernel takes ${most}`);
    }
  }

  #placeKernel(): number {
    const { segments, room } = this.#options.image;
    if (room !== undefined) return this.#placeWithRoom(segments[0]!.gpa, room);
    for (const { gpa, memorySizeBytes } of segments) {
      if (!this.#free.take(gpa, memorySizeBytes)) this.#notFree(gpa, memorySizeBytes);
    }
    return 0;
  }

  #placeWithRoom(wanted: number, { sizeBytes, alignBytes }: NonNullable<KernelImage["room"]>): number {
    if (this.#free.take(wanted, sizeBytes)) return 0;
    const gpa = alignBytes === undefined ? undefined : this.#free.takeLowest(sizeBytes, alignBytes, wanted);
    return gpa === undefined ? this.#notFree(wanted, sizeBytes) : gpa - wanted;
  }

  #notFree(gpa: number, sizeBytes: number): never {
    return this.#fail(`the kernel needs ${formatSize(sizeBytes)} at ${hex(gpa)}, which is not free`);
  }

  /** Behind the kernel if possible, else in any gap above 1 MiB, else below; on whole pages. */
  #placeModule(sizeBytes: number): number | undefined {
    const last = this.#segments[this.#segments.length - 1]!;
    const floors = [Math.max(last.gpa + last.memorySizeBytes, MIB), MIB, 0];
    const roof = this.#options.image.linux?.initrdAddrMax ?? Number.POSITIVE_INFINITY;
    // An empty module still gets an address of its own.
    const room = Math.max(sizeBytes, 1);
    for (const floor of floors) {
      const gpa = this.#free.takeLowest(room, PAGE_BYTES, floor);
      if (gpa !== undefined) return gpa + room - 1 <= roof ? gpa : undefined;
    }
    return undefined;
  }

  #write(): void {
    const { memory } = this.#options;
    for (const { gpa, bytes, memorySizeBytes } of this.#segments) {
      memory.write(gpa, bytes);
      if (memorySizeBytes > bytes.length) memory.zero(gpa + bytes.length, memorySizeBytes - bytes.length);
    }
    this.#modules.forEach(({ bytes }, index) => {
      memory.write(this.#placed[index]!.gpa, bytes);
    });
  }
}

/** A multiboot kernel finds its own name first, as argv[0]; others find only what they were given. */
function withName(path: string, commandLine: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1).replaceAll(/\s/g, "_");
  return commandLine === "" ? name : `${name} ${commandLine}`;
}
