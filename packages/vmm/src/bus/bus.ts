import type { Device } from "../devices/device.js";

/** A stretch of guest addresses behind which (part of) a device's register file stands. */
export interface Window {
  readonly device: Device;
  /** First address: a port on the PIO bus, a guest physical address on the MMIO bus. */
  readonly base: number;
  readonly sizeBytes: number;
  /** Where in the device's register file the window begins. */
  readonly deviceOffset: number;
  /** Ledger slots that name an access to this window, by direction. */
  readonly readSlot: number;
  readonly writeSlot: number;
}

/** Two windows on one bus claim the same address. */
export class BusOverlapError extends Error {
  constructor(bus: string, a: Window, b: Window) {
    const range = (w: Window) =>
      `${w.device.definition.name} at 0x${w.base.toString(16)}-0x${(w.base + w.sizeBytes - 1).toString(16)}`;
    super(`the ${bus} bus cannot hold both ${range(a)} and ${range(b)}`);
    this.name = "BusOverlapError";
  }
}

/** A window that the guest moves: where it is, is in the device's state, which other vCPUs write too. */
export class MovableWindow {
  #window: Window;

  /** `base` says where the window is at the moment; 0 is nowhere. */
  constructor(
    window: Window,
    private readonly base: () => number,
  ) {
    this.#window = window;
  }

  /** The window as it is now if it holds `address`; it stays what it is while an access to it is made. */
  find(address: number): Window | undefined {
    const base = this.base();
    if (base === 0 || address < base || address >= base + this.#window.sizeBytes) return undefined;
    if (this.#window.base !== base) this.#window = { ...this.#window, base };
    return this.#window;
  }
}

const ALL_ONES = [0, 0xff, 0xffff, 0xffffff, 0xffffffff] as const;

/** A read that no device answers has all bits set, as on a real bus. `sizeBytes` is 1, 2 or 4. */
export function allOnes(sizeBytes: number): number {
  return ALL_ONES[sizeBytes]!;
}

/**
 * Windows on one address space, found by address. Overlaps are refused when the machine is built; an address nobody
 * claims reads as all ones and swallows writes (the caller counts it).
 */
export class Bus {
  readonly name: string;
  readonly windows: readonly Window[];
  readonly #movable: readonly MovableWindow[];
  #last: Window | undefined;

  /** Where a movable window lies over another, the other one is seen. */
  constructor(name: string, windows: readonly Window[], movable: readonly MovableWindow[] = []) {
    this.name = name;
    this.#movable = movable;
    this.windows = [...windows].sort((a, b) => a.base - b.base);
    for (const { device, base, sizeBytes } of this.windows) {
      if (sizeBytes > 0) continue;
      throw new RangeError(`${device.definition.name} at 0x${base.toString(16)} on the ${name} bus has no size`);
    }
    for (let i = 1; i < this.windows.length; i++) {
      const [a, b] = [this.windows[i - 1]!, this.windows[i]!];
      if (a.base + a.sizeBytes > b.base) throw new BusOverlapError(name, a, b);
    }
  }

  /** The window that holds `address`, or undefined. Guests repeat themselves, so the last answer is tried first. */
  find(address: number): Window | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.base && address < last.base + last.sizeBytes) return last;
    let low = 0;
    let high = this.windows.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const window = this.windows[middle]!;
      if (address < window.base) high = middle - 1;
      else if (address >= window.base + window.sizeBytes) low = middle + 1;
      else {
        this.#last = window;
        return window;
      }
    }
    for (const movable of this.#movable) {
      const window = movable.find(address);
      if (window !== undefined) return window;
    }
    return undefined;
  }
}

/**
 * How an access is cut: into pieces as wide as the device takes, or into bytes when it is not aligned in the device's
 * register file or runs past the window. A device thus never sees an access that straddles two of its registers.
 */
function pieceBytes(window: Window, address: number, offset: number, sizeBytes: number): number {
  const widest = Math.min(window.device.definition.accessBytes, sizeBytes);
  return offset % widest === 0 && address + sizeBytes <= window.base + window.sizeBytes ? widest : 1;
}

/**
 * Reads `sizeBytes` (1, 2 or 4) at `address` inside `window`, under the device's lock; cut as `pieceBytes` says.
 * Bytes beyond the window are ones.
 */
export function readWindow(window: Window, address: number, sizeBytes: number): number {
  const { device } = window;
  const { definition, state, port } = device;
  if (definition.read === undefined) return allOnes(sizeBytes);
  const offset = address - window.base + window.deviceOffset;
  device.lock();
  try {
    const step = pieceBytes(window, address, offset, sizeBytes);
    if (step === sizeBytes) return definition.read(state, offset, sizeBytes, port);
    let value = 0;
    for (let done = 0; done < sizeBytes; done += step) {
      const inside = address + done + step <= window.base + window.sizeBytes;
      const part = inside ? definition.read(state, offset + done, step, port) : allOnes(step);
      value += part * 2 ** (8 * done);
    }
    return value;
  } finally {
    device.unlock();
  }
}

/** Writes `value` (unsigned, `sizeBytes` wide); cut as `pieceBytes` says. Bytes beyond the window are lost. */
export function writeWindow(window: Window, address: number, sizeBytes: number, value: number): void {
  const { device } = window;
  const { definition, state, port } = device;
  if (definition.write === undefined) return;
  const offset = address - window.base + window.deviceOffset;
  device.lock();
  try {
    const step = pieceBytes(window, address, offset, sizeBytes);
    if (step === sizeBytes) {
      definition.write(state, offset, sizeBytes, value, port);
      return;
    }
    for (let done = 0; done < sizeBytes; done += step) {
      if (address + done + step > window.base + window.sizeBytes) return;
      definition.write(state, offset + done, step, Math.floor(value / 2 ** (8 * done)) % 2 ** (8 * step), port);
    }
  } finally {
    device.unlock();
  }
}
