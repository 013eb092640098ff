/** Guest RAM as one address space over its regions: what loaders write and crash reports read. */
import { GuestMemory, type SharedGuestMemory } from "@tools-kvm/kvm-binding";
import { type RamRegion, ramRegions } from "./memory-map.js";
import { PAGE_BYTES } from "./spec.js";

export interface SharedGuestRam {
  readonly regions: readonly (RamRegion & { memory: SharedGuestMemory })[];
}

/** A region's bytes, as any thread may have them: postMessage passes them on without a copy. */
export interface RamWindow {
  readonly guestPhysAddr: number;
  readonly bytes: Uint8Array;
}

/** RAM at `gpa` in place, up to `maxBytes` and no further than its region goes; undefined where there is none. */
export function ramSpan(windows: readonly RamWindow[], gpa: number, maxBytes: number): Uint8Array | undefined {
  for (const { guestPhysAddr, bytes } of windows) {
    const start = gpa - guestPhysAddr;
    if (start >= 0 && start < bytes.length) return bytes.subarray(start, Math.min(start + maxBytes, bytes.length));
  }
  return undefined;
}

/** An access outside RAM. */
export class GuestRamError extends RangeError {
  constructor(gpa: number, length: number) {
    super(`guest address 0x${gpa.toString(16)}, ${length} bytes, is not RAM`);
    this.name = "GuestRamError";
  }
}

/** A power of two. */
const CACHED_VIEWS = 1024;

/** Where in the cache a view would be. */
function viewSlot(gpa: number, length: number): number {
  const paragraph = gpa / 16;
  return (paragraph ^ (paragraph / 256) ^ length) & (CACHED_VIEWS - 1);
}

export class GuestRam {
  readonly regions: readonly (RamRegion & { memory: GuestMemory })[];
  /** Bytes of RAM in all regions together. */
  readonly sizeBytes: number;

  /** Views that were asked for before: drivers use the same buffers again and again, and a view costs more than what is done with it. */
  readonly #views = new Array<Uint8Array | undefined>(CACHED_VIEWS);
  readonly #viewGpas = new Float64Array(CACHED_VIEWS);

  private constructor(regions: readonly (RamRegion & { memory: GuestMemory })[]) {
    this.regions = regions;
    this.sizeBytes = regions.reduce((sum, region) => sum + region.sizeBytes, 0);
  }

  /** Fresh RAM, all zeroes; the host gives pages as the guest touches them. */
  static create(memoryBytes: number): GuestRam {
    const regions: (RamRegion & { memory: GuestMemory })[] = [];
    try {
      for (const region of ramRegions(memoryBytes)) {
        regions.push({
          ...region,
          memory: GuestMemory.create({ sizeBytes: region.sizeBytes, name: "tools-kvm-ram", hugePages: true }),
        });
      }
    } catch (error) {
      for (const { memory } of regions) memory.close();
      throw error;
    }
    return new GuestRam(regions);
  }

  /** The same RAM in another thread. */
  static attach({ regions }: SharedGuestRam): GuestRam {
    return new GuestRam(
      regions.map(({ guestPhysAddr, sizeBytes, memory }) => ({
        guestPhysAddr,
        sizeBytes,
        memory: GuestMemory.attach(memory),
      })),
    );
  }

  share(): SharedGuestRam {
    return {
      regions: this.regions.map(({ guestPhysAddr, sizeBytes, memory }) => ({
        guestPhysAddr,
        sizeBytes,
        memory: memory.share(),
      })),
    };
  }

  /** Adds views of the `length` bytes at `gpa`, one for each region they touch. False, and nothing, when they are not all RAM. */
  views(gpa: number, length: number, views: Uint8Array[]): boolean {
    const slot = viewSlot(gpa, length);
    const known = this.#views[slot];
    if (known !== undefined && known.length === length && this.#viewGpas[slot] === gpa) {
      views.push(known);
      return true;
    }
    const before = views.length;
    let at = gpa;
    let left = length;
    while (left > 0) {
      const region = this.#regionAt(at);
      if (region === undefined) {
        views.length = before;
        return false;
      }
      const start = at - region.guestPhysAddr;
      const piece = Math.min(left, region.sizeBytes - start);
      views.push(region.memory.bytes.subarray(start, start + piece));
      at += piece;
      left -= piece;
    }
    if (views.length === before + 1) {
      this.#views[slot] = views[before];
      this.#viewGpas[slot] = gpa;
    }
    return true;
  }

  /** A loop, since queues ask for every buffer. */
  #regionAt(gpa: number): (RamRegion & { memory: GuestMemory }) | undefined {
    for (const region of this.regions) {
      if (gpa >= region.guestPhysAddr && gpa < region.guestPhysAddr + region.sizeBytes) return region;
    }
    return undefined;
  }

  /** Gives whole pages back to the host: they read as zeros from now on. False, and nothing, when they are not all RAM. */
  discard(gpa: number, lengthBytes: number): boolean {
    const views: Uint8Array[] = [];
    if (!this.views(gpa, lengthBytes, views)) return false;
    for (const view of views) this.discardView(view);
    return true;
  }

  /** The same for the whole pages within a view of this RAM. */
  discardView(view: Uint8Array): void {
    const { memory } = this.regions.find((region) => region.memory.bytes.buffer === view.buffer)!;
    const start = view.byteOffset - memory.bytes.byteOffset;
    const from = Math.ceil(start / PAGE_BYTES) * PAGE_BYTES;
    const to = Math.floor((start + view.length) / PAGE_BYTES) * PAGE_BYTES;
    if (to > from) memory.discard(from, to - from);
  }

  write(gpa: number, bytes: Uint8Array): void {
    this.view(gpa, bytes.length).set(bytes);
  }

  zero(gpa: number, length: number): void {
    this.view(gpa, length).fill(0);
  }

  /** The `length` bytes at `gpa`, in place. They must lie within one region. */
  view(gpa: number, length: number): Uint8Array {
    const region = this.regions.find(
      ({ guestPhysAddr, sizeBytes }) => gpa >= guestPhysAddr && gpa + length <= guestPhysAddr + sizeBytes,
    );
    if (region === undefined) throw new GuestRamError(gpa, length);
    const start = gpa - region.guestPhysAddr;
    return region.memory.bytes.subarray(start, start + length);
  }

  /** The bytes of all regions, for threads that move data themselves. They read zeros after `close`. */
  windows(): RamWindow[] {
    return this.regions.map(({ guestPhysAddr, memory }) => ({ guestPhysAddr, bytes: memory.bytes }));
  }

  close(): void {
    this.#views.fill(undefined);
    for (const { memory } of this.regions) memory.close();
  }
}
