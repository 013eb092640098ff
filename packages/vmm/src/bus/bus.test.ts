import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Device, type DeviceDefinition, defineDevice, layoutOf } from "../devices/device.js";
import { FakePort } from "../devices/testing.js";
import { bytes, type Fields } from "../state/struct.js";
import { allOnes, Bus, BusOverlapError, readWindow, type Window, writeWindow } from "./bus.js";

const MEMORY_BYTES = 64;
type AccessBytes = 1 | 2 | 4;
const ACCESSES = [1, 2, 4] as const;

interface Access {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** A device that is memory, and that notes the accesses it sees. */
function memory(accessBytes: AccessBytes, name = "memory") {
  const seen: Access[] = [];
  const definition = defineDevice({
    name,
    state: { memory: bytes(MEMORY_BYTES) },
    accessBytes,
    reset({ memory }) {
      memory.forEach((_, i) => {
        memory[i] = i + 1;
      });
    },
    read({ memory }, offset, sizeBytes) {
      seen.push({ offset, sizeBytes });
      let value = 0;
      for (let i = sizeBytes - 1; i >= 0; i--) value = value * 256 + memory[offset + i]!;
      return value;
    },
    write({ memory }, offset, sizeBytes, value) {
      seen.push({ offset, sizeBytes });
      for (let i = 0; i < sizeBytes; i++) memory[offset + i] = value >>> (8 * i);
    },
  });
  return { device: powerOn(definition), seen };
}

function powerOn<F extends Fields>(definition: DeviceDefinition<F>): Device<F> {
  const layout = layoutOf(definition);
  const device = new Device(definition, layout, new SharedArrayBuffer(layout.sizeBytes), 0);
  device.port = new FakePort();
  device.reset();
  return device;
}

function windowOn(device: unknown, base: number, sizeBytes: number, deviceOffset = 0): Window {
  return { device: device as Device, base, sizeBytes, deviceOffset, readSlot: 0, writeSlot: 1 };
}

describe("building a bus", () => {
  const { device } = memory(1, "serial");
  const { device: other } = memory(1, "timer");

  it("refuses windows that overlap, and names both", () => {
    expect(() => new Bus("pio", [windowOn(device, 0x3f8, 8), windowOn(other, 0x3ff, 4)])).toThrow(BusOverlapError);
    expect(() => new Bus("pio", [windowOn(other, 0x3ff, 4), windowOn(device, 0x3f8, 8)])).toThrow(
      "the pio bus cannot hold both serial at 0x3f8-0x3ff and timer at 0x3ff-0x402",
    );
  });

  it("says by its error's name what is wrong", () => {
    const build = () => new Bus("pio", [windowOn(device, 0, 2), windowOn(other, 1, 2)]);
    expect(build).toThrow(expect.objectContaining({ name: "BusOverlapError" }));
  });

  it("takes windows that touch", () => {
    expect(new Bus("pio", [windowOn(device, 0x3f8, 8), windowOn(other, 0x400, 4)]).windows).toHaveLength(2);
  });

  it("refuses a window without a size", () => {
    expect(() => new Bus("pio", [windowOn(device, 0x3f8, 0)])).toThrow("serial at 0x3f8 on the pio bus has no size");
  });

  it("never lets two windows share an address, and refuses no others", () => {
    const ranges = fc.array(fc.tuple(fc.nat({ max: 60 }), fc.integer({ min: 1, max: 12 })), { maxLength: 6 });
    fc.assert(
      fc.property(ranges, (ranges) => {
        const claimed = ranges.flatMap(([base, size]) => Array.from({ length: size }, (_, i) => base + i));
        const overlap = new Set(claimed).size !== claimed.length;
        const build = () =>
          new Bus(
            "pio",
            ranges.map(([base, size]) => windowOn(device, base, size)),
          );
        if (overlap) expect(build).toThrow(BusOverlapError);
        else expect(build().windows).toHaveLength(ranges.length);
      }),
    );
  });
});

describe("finding a window", () => {
  it("gives for every address what a search through all of them gives, in any order of asking", () => {
    const { device } = memory(1);
    const gapsAndSizes = fc.array(fc.tuple(fc.nat({ max: 5 }), fc.integer({ min: 1, max: 9 })), { maxLength: 20 });
    const far = fc.constantFrom(0, 0xfec0_0000, 2 ** 40);
    fc.assert(
      fc.property(gapsAndSizes, far, fc.array(fc.nat({ max: 320 })), (gapsAndSizes, origin, offsets) => {
        let base = origin;
        const windows = gapsAndSizes.map(([gap, size]) => {
          const window = windowOn(device, base + gap, size);
          base += gap + size;
          return window;
        });
        const bus = new Bus("mmio", [...windows].reverse());
        for (const offset of offsets) {
          const address = origin + offset;
          expect(bus.find(address)).toBe(windows.find((w) => address >= w.base && address < w.base + w.sizeBytes));
        }
      }),
    );
  });
});

describe("an access", () => {
  it("that the device takes reaches it whole", () => {
    for (const accessBytes of ACCESSES) {
      const { device, seen } = memory(accessBytes);
      readWindow(windowOn(device, 0x100, 16), 0x104, accessBytes);
      writeWindow(windowOn(device, 0x100, 16), 0x108, accessBytes, 0);
      expect(seen).toEqual([
        { offset: 4, sizeBytes: accessBytes },
        { offset: 8, sizeBytes: accessBytes },
      ]);
    }
  });

  it("that ends where its window ends reaches it whole too", () => {
    const { device, seen } = memory(4);
    readWindow(windowOn(device, 0x100, 8), 0x104, 4);
    expect(seen).toEqual([{ offset: 4, sizeBytes: 4 }]);
  });

  it("holds the device's lock while it is handled, and not afterwards", () => {
    const locks: boolean[] = [];
    let isHeld = (): boolean => false;
    const definition = defineDevice({
      name: "watched",
      state: {},
      accessBytes: 1,
      reset: () => {},
      read: () => locks.push(isHeld()),
      write: () => void locks.push(isHeld()),
    });
    const layout = layoutOf(definition);
    const buffer = new SharedArrayBuffer(layout.sizeBytes);
    const header = layout.headerType.bind(buffer, 0);
    isHeld = () => header.lock !== 0;
    const window = windowOn(new Device(definition, layout, buffer, 0), 0, 4);
    for (const sizeBytes of [1, 2]) {
      readWindow(window, 0, sizeBytes);
      writeWindow(window, 0, sizeBytes, 0);
      expect(isHeld()).toBe(false);
    }
    expect(locks).toEqual([true, true, true, true, true, true]);
  });

  it("that is wider than the device takes is cut into consecutive ones, lowest first", () => {
    const { device, seen } = memory(2);
    expect(readWindow(windowOn(device, 0x100, 16), 0x100, 4)).toBe(0x0403_0201);
    expect(seen).toEqual([
      { offset: 0, sizeBytes: 2 },
      { offset: 2, sizeBytes: 2 },
    ]);
  });

  it("that straddles two registers is cut into bytes", () => {
    const { device, seen } = memory(4);
    expect(readWindow(windowOn(device, 0x100, 16), 0x103, 2)).toBe(0x0504);
    expect(seen.map(({ sizeBytes }) => sizeBytes)).toEqual([1, 1]);
  });

  it("is aligned by where it falls in the register file, not by its address", () => {
    const { device, seen } = memory(4);
    readWindow(windowOn(device, 0x101, 16), 0x105, 4);
    expect(seen).toEqual([{ offset: 4, sizeBytes: 4 }]);
  });

  it("finds its place in the register file through the window's own offset", () => {
    const { device, seen } = memory(1);
    readWindow(windowOn(device, 0x64, 1, 4), 0x64, 1);
    expect(seen).toEqual([{ offset: 4, sizeBytes: 1 }]);
  });

  it("that runs past the window reads ones there, and writes nothing there", () => {
    const { device } = memory(4);
    const window = windowOn(device, 0x100, 6);
    expect(readWindow(window, 0x104, 4)).toBe(0xffff_0605);
    writeWindow(window, 0x104, 4, 0xaabb_ccdd);
    expect([...device.state.memory.subarray(4, 8)]).toEqual([0xdd, 0xcc, 7, 8]);
  });

  it("composes: any read equals its bytes read one by one, and any write its bytes written", () => {
    const access = fc.constantFrom(...ACCESSES);
    const value = fc.nat({ max: 0xffff_ffff });
    const place = fc.record({
      base: fc.nat({ max: 0x200 }),
      sizeBytes: fc.integer({ min: 1, max: 24 }),
      deviceOffset: fc.nat({ max: 32 }),
    });
    fc.assert(
      fc.property(access, place, access, fc.nat({ max: 23 }), value, (accessBytes, place, sizeBytes, at, value) => {
        const [whole, single] = [memory(accessBytes), memory(accessBytes)];
        const [one, other] = [whole, single].map(({ device }) =>
          windowOn(device, place.base, place.sizeBytes, place.deviceOffset),
        );
        const address = place.base + (at % place.sizeBytes);
        const readBytes = (window: Window) =>
          Array.from({ length: sizeBytes }, (_, i) =>
            address + i < window.base + window.sizeBytes ? readWindow(window, address + i, 1) : allOnes(1),
          ).reduce((sum, byte, i) => sum + byte * 2 ** (8 * i), 0);
        expect(readWindow(one!, address, sizeBytes)).toBe(readBytes(other!));
        const written = value % 2 ** (8 * sizeBytes);
        writeWindow(one!, address, sizeBytes, written);
        for (let i = 0; i < sizeBytes; i++) {
          if (address + i < place.base + place.sizeBytes)
            writeWindow(other!, address + i, 1, (written >>> (8 * i)) & 0xff);
        }
        expect([...whole.device.state.memory]).toEqual([...single.device.state.memory]);
        for (const { offset, sizeBytes } of whole.seen) {
          expect(sizeBytes).toBeLessThanOrEqual(accessBytes);
          expect(offset % sizeBytes).toBe(0);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("gets ones from a device that cannot be read, and is lost on one that cannot be written", () => {
    const device = powerOn(defineDevice({ name: "mute", state: {}, accessBytes: 1, reset() {} }));
    const window = windowOn(device, 0, 8);
    for (const sizeBytes of ACCESSES) expect(readWindow(window, 0, sizeBytes)).toBe(allOnes(sizeBytes));
    writeWindow(window, 0, 4, 1);
  });

  it("gives the device's lock back even when a handler throws", () => {
    const device = powerOn(
      defineDevice({
        name: "faulty",
        state: {},
        accessBytes: 1,
        reset() {},
        read() {
          throw new Error("a fault of ours");
        },
      }),
    );
    expect(() => readWindow(windowOn(device, 0, 1), 0, 1)).toThrow("a fault of ours");
    device.lock();
    device.unlock();
  });
});
