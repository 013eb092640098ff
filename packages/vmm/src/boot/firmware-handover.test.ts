import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FW_CFG_KEY } from "../devices/fw-cfg/items.js";
import { e820Map } from "../machine/memory-map.js";
import { BootError } from "./errors.js";
import { kernelItems } from "./firmware-handover.js";
import { type KernelImage, parseKernel } from "./kernel-image.js";
import { buildBzImage } from "./linux/testing.js";
import { buildElf, bytesOf, multibootHeader, noteSegment, pvhNote } from "./testing.js";

const MIB = 2 ** 20;
/** The end of RAM, which a BIOS needs. */
const KEPT_BYTES = MIB / 2;
const module = (bytes: Uint8Array, commandLine = "m") => ({ bytes, commandLine });

interface Handover {
  readonly commandLine?: string;
  readonly modules?: readonly { bytes: Uint8Array; commandLine: string }[];
  readonly memoryBytes?: number;
}

function handOver(image: KernelImage, { commandLine = "", modules = [], memoryBytes = 64 * MIB }: Handover = {}) {
  const items = new Map(kernelItems({ image, commandLine, modules, memoryBytes, memoryMap: e820Map(memoryBytes) }));
  const bytes = (key: number): Uint8Array | undefined => items.get(key);
  const number = (key: number): number | undefined => {
    const item = items.get(key);
    return item === undefined ? undefined : new DataView(item.buffer, item.byteOffset).getUint32(0, true);
  };
  return { bytes, number };
}

const code = Uint8Array.of(0xf4, 0x90, 0x90);
const pvh = parseKernel(buildElf({ segments: [{ gpa: 4 * MIB, bytes: code }, pvhNote(4 * MIB)] }), "pvh.elf");
const withHeader = Uint8Array.from([...multibootHeader(0), ...code]);
const multiboot = parseKernel(
  buildElf({ entry: MIB + 12, segments: [{ gpa: MIB, bytes: withHeader, memorySizeBytes: 0x3000 }] }),
  "mb.elf",
);
const bzImage = parseKernel(buildBzImage({ setupSects: 3, initrdAddrMax: 0x1ff_ffff }), "bzImage");

describe("a bzImage for firmware", () => {
  it("is its two parts, as the file has them", () => {
    const { bytes, number } = handOver(bzImage);
    expect(bytes(FW_CFG_KEY.SETUP_DATA)).toEqual(bzImage.file.subarray(0, 4 * 512));
    expect(bytes(FW_CFG_KEY.KERNEL_DATA)).toEqual(bzImage.segments[0]!.bytes);
    expect(number(FW_CFG_KEY.SETUP_SIZE)).toBe(4 * 512);
    expect(number(FW_CFG_KEY.KERNEL_ADDR)).toBe(0x100_0000);
  });

  it("has its ramdisks as one, as high as the kernel lets it be", () => {
    const modules = [module(bytesOf("first")), module(bytesOf("second"))];
    const { bytes, number } = handOver(bzImage, { modules });
    expect(Buffer.from(bytes(FW_CFG_KEY.INITRD_DATA)!).toString()).toMatch(/^first\0\0\0second/);
    expect(number(FW_CFG_KEY.INITRD_ADDR)).toBe(0x1ff_f000);
  });

  it("has its command line with an end, and one that is not too long", () => {
    const { bytes, number } = handOver(bzImage, { commandLine: "quiet" });
    expect(bytes(FW_CFG_KEY.CMDLINE_DATA)).toEqual(bytesOf("quiet\0"));
    expect(number(FW_CFG_KEY.CMDLINE_SIZE)).toBe(6);
    const commandLine = "x".repeat(2048);
    expect(() => handOver(bzImage, { commandLine })).toThrow(
      "a command line of 2048 bytes, and this kernel takes 2047",
    );
  });
});

describe("a PVH kernel for firmware", () => {
  it("is its whole file and its entry", () => {
    const { bytes, number } = handOver(pvh);
    expect(bytes(FW_CFG_KEY.KERNEL_DATA)).toBe(pvh.file);
    expect(bytes(FW_CFG_KEY.SETUP_DATA)).toEqual(pvh.file);
    expect(number(FW_CFG_KEY.KERNEL_ENTRY)).toBe(4 * MIB);
    expect(number(FW_CFG_KEY.INITRD_SIZE)).toBeUndefined();
  });

  it("has one module", () => {
    const one = module(bytesOf("one"));
    expect(handOver(pvh, { modules: [one] }).number(FW_CFG_KEY.INITRD_ADDR)).toBe(64 * MIB - KEPT_BYTES - 4096);
    expect(() => handOver(pvh, { modules: [one, one] })).toThrow("one module");
    const modules = [module(new Uint8Array(3 * MIB))];
    expect(() => handOver(pvh, { modules, memoryBytes: 2 * MIB })).toThrow("3 MiB in 2 MiB of memory");
  });
});

describe("a multiboot kernel for firmware", () => {
  it("is one piece with its bss and its modules, and the information structure beside it", () => {
    const { bytes, number } = handOver(multiboot, { commandLine: "a b", modules: [module(bytesOf("module"))] });
    const kernel = bytes(FW_CFG_KEY.KERNEL_DATA)!;
    expect(number(FW_CFG_KEY.KERNEL_ADDR)).toBe(MIB);
    expect(number(FW_CFG_KEY.KERNEL_ENTRY)).toBe(MIB + 12);
    expect(kernel.subarray(0, withHeader.length)).toEqual(withHeader);
    expect(kernel.subarray(withHeader.length, 0x3000).every((byte) => byte === 0)).toBe(true);
    expect(Buffer.from(kernel.subarray(0x3000)).toString()).toBe("module");

    const address = number(FW_CFG_KEY.INITRD_ADDR)!;
    const information = bytes(FW_CFG_KEY.INITRD_DATA)!;
    const view = new DataView(information.buffer);
    const text = Buffer.from(information).toString("latin1", view.getUint32(16, true) - address);
    expect(text).toMatch(/^mb\.elf a b\0/);
    expect(view.getUint32(20, true)).toBe(1);
    expect(address + information.length).toBeLessThanOrEqual(0x9_fc00);
  });

  it("is refused when its parts are so far apart that one piece would be all of memory", () => {
    const segments = [
      { gpa: MIB, bytes: withHeader },
      { gpa: 2 ** 31, bytes: code },
    ];
    const image = parseKernel(buildElf({ entry: MIB + 12, segments }), "far.elf");
    expect(() => handOver(image, { memoryBytes: 3 * 2 ** 30 })).toThrow("far.elf: its parts are 2 GiB apart");
  });

  it("is refused where firmware works", () => {
    const image = parseKernel(buildElf({ entry: 0x700c, segments: [{ gpa: 0x7000, bytes: withHeader }] }), "low.elf");
    expect(() => handOver(image)).toThrow("low.elf: the kernel needs 15 B at 0x7000, which is not free");
  });
});

it("refuses a vmlinux that only has a 64-bit entry", () => {
  const linux = noteSegment({ name: "Linux", type: 0x101, desc: [0, 0, 0, 0] });
  const file = buildElf({ bits: 64, machine: 62, entry: 2 * MIB, segments: [{ gpa: 2 * MIB, bytes: code }, linux] });
  expect(() => handOver(parseKernel(file, "vmlinux"))).toThrow("vmlinux: firmware boots no vmlinux without a PVH note");
});

it("places what it places in memory and apart, or says that it does not fit", () => {
  const images = fc.constantFrom(pvh, multiboot, bzImage);
  fc.assert(
    fc.property(images, fc.integer({ min: 2, max: 40 }), fc.nat(30 * MIB), (image, mib, moduleBytes) => {
      const modules = [module(new Uint8Array(moduleBytes))];
      try {
        const { bytes, number } = handOver(image, { modules, memoryBytes: mib * MIB });
        const [address, data] = [number(FW_CFG_KEY.INITRD_ADDR), bytes(FW_CFG_KEY.INITRD_DATA)];
        if (address === undefined) return;
        expect(address).toBeGreaterThanOrEqual(0x8000);
        expect(address + data!.length).toBeLessThanOrEqual(mib * MIB);
        for (const { gpa, memorySizeBytes } of image.segments) {
          expect(address >= gpa + memorySizeBytes || address + data!.length <= gpa).toBe(true);
        }
      } catch (error) {
        if (!(error instanceof BootError)) throw error;
      }
    }),
    { numRuns: 60 },
  );
});
