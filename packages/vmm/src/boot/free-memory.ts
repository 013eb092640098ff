import { E820, type E820Entry } from "../machine/memory-map.js";

interface Range {
  readonly start: number;
  readonly end: number;
}

/** What a loader leaves alone, whatever the memory map says: real mode's vectors, and the PC's legacy hole. */
const KEPT_FREE: readonly Range[] = [
  { start: 0, end: 0x1000 },
  { start: 0xa_0000, end: 0x10_0000 },
];
/** Boot protocols with a 32-bit entry can only be given what lies below this. */
const ROOF = 2 ** 32;

const alignUp = (value: number, alignBytes: number): number => Math.ceil(value / alignBytes) * alignBytes;
const alignDown = (value: number, alignBytes: number): number => Math.floor(value / alignBytes) * alignBytes;

/** The RAM that is still free while a kernel is being placed, as ascending disjoint ranges. */
export class FreeMemory {
  #ranges: Range[];

  constructor(memoryMap: readonly E820Entry[]) {
    this.#ranges = memoryMap
      .filter(({ type, size }) => type === E820.RAM && size > 0)
      .map(({ addr, size }) => ({ start: addr, end: Math.min(addr + size, ROOF) }))
      .filter(({ start, end }) => start < end)
      .sort((a, b) => a.start - b.start);
    // Where entries contradict each other, the one that is not RAM wins.
    for (const { addr, size, type } of memoryMap) {
      if (type !== E820.RAM) this.#remove({ start: addr, end: addr + size });
    }
    for (const range of KEPT_FREE) this.#remove(range);
  }

  /** Takes exactly these bytes; false when they are not all free. */
  take(gpa: number, sizeBytes: number): boolean {
    const range = { start: gpa, end: gpa + sizeBytes };
    if (!this.#ranges.some(({ start, end }) => start <= range.start && range.end <= end)) return false;
    this.#remove(range);
    return true;
  }

  /** Takes `sizeBytes` as low as possible at or above `floor`. The address, or undefined when there is no such room. */
  takeLowest(sizeBytes: number, alignBytes: number, floor: number): number | undefined {
    for (const { start, end } of this.#ranges) {
      const gpa = alignUp(Math.max(start, floor), alignBytes);
      if (gpa + sizeBytes <= end) return this.take(gpa, sizeBytes) ? gpa : undefined;
    }
    return undefined;
  }

  /** Takes `sizeBytes` as high as possible below `roof`. The address, or undefined when there is no such room. */
  takeHighest(sizeBytes: number, alignBytes: number, roof: number): number | undefined {
    for (const { start, end } of [...this.#ranges].reverse()) {
      const gpa = alignDown(Math.min(end, roof) - sizeBytes, alignBytes);
      if (gpa >= start) return this.take(gpa, sizeBytes) ? gpa : undefined;
    }
    return undefined;
  }

  #remove(taken: Range): void {
    this.#ranges = this.#ranges.flatMap((range) =>
      [
        { start: range.start, end: Math.min(range.end, taken.start) },
        { start: Math.max(range.start, taken.end), end: range.end },
      ].filter(({ start, end }) => start < end),
    );
  }
}
