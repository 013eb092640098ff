/** Linux's 64-bit boot protocol: what is read from a bzImage, what is refused, and what the kernel finds in memory. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { E820 } from "../../machine/memory-map.js";
import { BootError } from "../errors.js";
import { parseKernel } from "../kernel-image.js";
import { type LinuxEntry, loadKernel } from "../load.js";
import { buildElf, bytesOf, FakeRam } from "../testing.js";
import { concatenateInitrds } from "./initrd.js";
import { ENTRY_64_OFFSET, SETUP } from "./setup-header.js";
import { buildBzImage, type TestBzImage } from "./testing.js";

const MIB = 2 ** 20;

function load(file: Uint8Array, { ram = new FakeRam(64 * MIB), commandLine = "", initrds = [] as Uint8Array[] } = {}) {
  const image = parseKernel(file, "bzImage");
  const modules = initrds.map((bytes) => ({ bytes, commandLine: "" }));
  const entry = loadKernel({ image, commandLine, modules, memory: ram, memoryMap: ram.memoryMap, rsdp: 0xe_0000 });
  return { image, ram, entry: entry as LinuxEntry };
}

describe("a bzImage", () => {
  it("is loaded where it wants to be, without its setup code, and entered 0x200 bytes behind", () => {
    const { ram, entry } = load(buildBzImage({ code: [0x90, 0xf4] }));
    expect(entry).toMatchObject({ protocol: "linux", rip: 16 * MIB + ENTRY_64_OFFSET });
    expect([...ram.bytes.subarray(entry.rip, entry.rip + 2)]).toEqual([0x90, 0xf4]);
  });

  it("finds its header, command line, memory map, initial ramdisk and ACPI's root in boot_params", () => {
    const initrd = bytesOf("archive");
    const { ram, entry } = load(buildBzImage(), { commandLine: "console=ttyS0", initrds: [initrd] });
    const at = (offset: number) => entry.rsi + offset;
    expect(ram.u32(at(SETUP.HEADER))).toBe(0x5372_6448);
    expect(ram.bytes[at(SETUP.TYPE_OF_LOADER)]).toBe(0xff);
    expect(ram.bytes[at(SETUP.LOADFLAGS)]! & 1).toBe(1);
    expect(ram.string(ram.u32(at(SETUP.CMD_LINE_PTR)))).toBe("console=ttyS0");
    const ramdisk = ram.u32(at(SETUP.RAMDISK_IMAGE));
    expect(ram.bytes.subarray(ramdisk, ramdisk + ram.u32(at(SETUP.RAMDISK_SIZE)))).toEqual(initrd);
    expect(ram.u64(at(0x70))).toBe(0xe_0000);
    expect(ram.bytes[at(0x1e8)]).toBe(ram.memoryMap.length);
    const last = at(0x2d0 + 20 * (ram.memoryMap.length - 1));
    expect([ram.u64(last), ram.u64(last + 8), ram.u32(last + 16)]).toEqual([MIB, 63 * MIB, E820.RAM]);
  });

  it("starts on page tables that map four gigabytes to themselves, none of them in memory that is not RAM", () => {
    const { ram, entry } = load(buildBzImage());
    for (const address of [0, 0x12_3456, 0x1_0000_0000 - 1]) {
      const level3 = ram.u64(entry.cr3) & ~0xfff;
      const level2 = ram.u64(level3 + 8 * Math.floor(address / 2 ** 30)) - 3;
      const page = ram.u64(level2 + 8 * (Math.floor(address / 2 ** 21) % 512));
      expect(page & 0x83).toBe(0x83);
      expect(page - 0x83).toBe(Math.floor(address / 2 ** 21) * 2 ** 21);
    }
    expect(ram.u64(entry.gdt.gpa + 0x10)).toBe(Number(0x00af_9b00_0000_ffffn));
  });

  it("moves up by its alignment when its place is taken, if it can be moved", () => {
    const high = { prefAddress: 0, alignBytes: 2 * MIB };
    expect(load(buildBzImage({ ...high })).entry.rip).toBe(2 * MIB + ENTRY_64_OFFSET);
    expect(() => load(buildBzImage({ ...high, relocatable: false }))).toThrow(/needs 1 MiB at 0x0, which is not free/);
  });

  it("gets several ramdisks as one, each at a multiple of four", () => {
    const [joined] = concatenateInitrds(
      [5, 4, 1].map((length) => ({ bytes: new Uint8Array(length).fill(length), commandLine: "" })),
    );
    expect([...joined!.bytes]).toEqual([5, 5, 5, 5, 5, 0, 0, 0, 4, 4, 4, 4, 1, 0, 0, 0]);
  });

  it("gets its ramdisk below the highest address that it takes, or not at all", () => {
    const { ram, entry } = load(buildBzImage({ initrdAddrMax: 32 * MIB }), { initrds: [new Uint8Array(MIB)] });
    expect(ram.u32(entry.rsi + SETUP.RAMDISK_IMAGE)).toBeLessThanOrEqual(31 * MIB);
    expect(() => load(buildBzImage({ initrdAddrMax: 16 * MIB }), { initrds: [new Uint8Array(MIB)] })).toThrow(
      /no room for module 1/,
    );
  });

  const bootFolder = "/boot";
  const kernel = existsSync(bootFolder) && readdirSync(bootFolder).find((name) => name.startsWith("vmlinuz-"));
  it.skipIf(!kernel)(`of a distribution is understood${kernel ? "" : " (needs a kernel in /boot)"}`, () => {
    const image = parseKernel(readFileSync(`${bootFolder}/${kernel}`), "vmlinuz");
    expect(image).toMatchObject({ protocol: "linux", entry: 16 * MIB + ENTRY_64_OFFSET, linux: { cmdlineSize: 2047 } });
  });
});

describe("a bzImage is refused", () => {
  const refusals: [string, TestBzImage, RegExp][] = [
    ["without a 64-bit entry", { xloadflags: 0 }, /a 32-bit Linux kernel/],
    ["of a protocol without one", { version: 0x020b }, /boot protocol 2\.11; the 64-bit entry came with 2\.12/],
    ["that is a zImage", { loadflags: 0 }, /zImage/],
    ["whose alignment is none", { alignBytes: 0x3000 }, /alignment of 12288/],
    ["that needs less memory than it has bytes", { initSizeBytes: 16 }, /need 16 bytes of memory/],
    ["that wants to be beyond 4 GiB", { prefAddress: 2 ** 32 }, /beyond 4 GiB, at 0x100000000/],
    ["that wants to be beyond all numbers", { prefAddress: 2 ** 60 }, /beyond 4 GiB/],
  ];
  it.each(refusals)("%s", (_what, options, message) => {
    expect(() => parseKernel(buildBzImage(options), "k")).toThrow(BootError);
    expect(() => parseKernel(buildBzImage(options), "k")).toThrow(message);
  });

  it("when it is cut, wherever, in one line that says so", () => {
    const file = buildBzImage();
    for (let length = SETUP.VERSION; length < file.length; length += 7) {
      expect(() => parseKernel(file.subarray(0, length), "k")).toThrow(/^k: truncated/);
    }
  });

  it("when its command line is longer than it takes", () => {
    expect(() => load(buildBzImage({ cmdlineSize: 8 }), { commandLine: "123456789" })).toThrow(
      /9 bytes, and this kernel takes 8/,
    );
  });
});

it("any bzImage with any bytes in its header is loaded within RAM, or refused by a BootError", () => {
  const positions = fc.integer({ min: 0x1f1, max: 0x270 });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(positions, fc.nat(255)), { maxLength: 12 }),
      fc.nat(3 * MIB),
      (changes, initrdBytes) => {
        const file = buildBzImage({ prefAddress: MIB });
        for (const [position, value] of changes) file[position] = value;
        try {
          // FakeRam throws another error when it is written outside of itself.
          load(file, { ram: new FakeRam(6 * MIB), initrds: [new Uint8Array(initrdBytes)], commandLine: "quiet" });
        } catch (error) {
          expect(error).toBeInstanceOf(BootError);
        }
      },
    ),
    { numRuns: 400 },
  );
});

describe("a Linux ELF file without a PVH note", () => {
  const text = { gpa: 16 * MIB, bytes: bytesOf("code; Linux version 3.2.0 (gcc)") };
  it("is entered in long mode at its entry point", () => {
    const { entry } = load(buildElf({ bits: 64, machine: 62, entry: 16 * MIB, segments: [text] }));
    expect(entry).toMatchObject({ protocol: "linux", rip: 16 * MIB });
  });

  it("is refused when it has 32 bits", () => {
    expect(() => parseKernel(buildElf({ entry: 16 * MIB, segments: [text] }), "k")).toThrow(
      /32-bit Linux kernel without a PVH note/,
    );
  });
});
