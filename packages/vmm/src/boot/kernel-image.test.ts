import { existsSync, readFileSync } from "node:fs";
import { embeddedGuestPath } from "@tools-kvm/firmware";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BootError } from "./errors.js";
import { parseKernel } from "./kernel-image.js";
import { findMultibootHeader } from "./multiboot.js";
import { buildElf, bytesOf, multibootHeader, noteSegment, pvhNote, u32le } from "./testing.js";

const MIB = 2 ** 20;
const code = { gpa: MIB, bytes: bytesOf("code code"), memorySizeBytes: 0x2000 };
const withHeader = { gpa: 4 * MIB, bytes: Uint8Array.from([...multibootHeader(0x3), ...bytesOf("code")]) };

/** A file that is not ELF: a multiboot header whose addresses load all of it to 1 MiB, and code behind it. */
function plainImage({ bssBytes = 0x100, entry = MIB + 0x20 } = {}): Uint8Array {
  const end = MIB + 40;
  const header = multibootHeader(0x1_0003, [MIB, MIB, end, end + bssBytes, entry]);
  return Uint8Array.from([...header, ...bytesOf("the code")]);
}

describe("a kernel is started", () => {
  it("by PVH when its ELF file has the note", () => {
    const image = parseKernel(buildElf({ bits: 64, machine: 62, segments: [code, pvhNote(MIB + 4)] }), "vmlinux");
    expect(image).toMatchObject({ path: "vmlinux", protocol: "pvh", entry: MIB + 4 });
    expect(image.segments).toMatchObject([{ gpa: MIB, memorySizeBytes: 0x2000 }]);
  });

  it("by PVH when the note's address has 64 bits", () => {
    const note = noteSegment({ name: "Xen", type: 18, desc: [...u32le(MIB), 0, 0, 0, 0] });
    expect(parseKernel(buildElf({ segments: [code, note] }), "k").entry).toBe(MIB);
  });

  it("by multiboot when its ELF file has the header and no note", () => {
    const image = parseKernel(buildElf({ entry: 4 * MIB + 12, segments: [withHeader, code] }), "test.elf");
    expect(image).toMatchObject({ protocol: "multiboot", entry: 4 * MIB + 12 });
    expect(image.segments.map(({ gpa }) => gpa)).toEqual([MIB, 4 * MIB]);
  });

  it("by PVH when it speaks both", () => {
    const file = buildElf({ entry: 4 * MIB + 12, segments: [withHeader, pvhNote(4 * MIB + 13)] });
    expect(parseKernel(file, "k")).toMatchObject({ protocol: "pvh", entry: 4 * MIB + 13 });
  });

  it("by the addresses in its multiboot header when it is no ELF file", () => {
    const image = parseKernel(plainImage(), "k");
    expect(image).toMatchObject({ protocol: "multiboot", entry: MIB + 0x20 });
    expect(image.segments).toMatchObject([{ gpa: MIB, memorySizeBytes: 40 + 0x100 }]);
    expect(image.segments[0]!.bytes).toHaveLength(40);
  });

  it("with the whole rest of the file when the multiboot header names no end", () => {
    const file = Uint8Array.from([...multibootHeader(0x1_0000, [MIB + 8, MIB + 8, 0, 0, MIB + 8]), ...bytesOf("code")]);
    expect(parseKernel(file, "k").segments).toMatchObject([{ gpa: MIB + 8, memorySizeBytes: file.length }]);
  });
});

describe("a file is refused in one line that begins with its path", () => {
  const bzImage = new Uint8Array(4096);
  bzImage.set([0x55, 0xaa, 0xeb, 0x6a, ...bytesOf("HdrS")], 0x1fe);
  const elf = buildElf({ segments: [code, pvhNote(MIB)] });
  it.each<[string, Uint8Array, RegExp]>([
    ["when it is empty", new Uint8Array(0), /^k: the file is empty$/],
    ["when it is text", bytesOf("hello"), /not a kernel/],
    ["when it is a bzImage of an old protocol", bzImage, /boot protocol 0\.00/],
    ["when it is a truncated ELF file", elf.subarray(0, elf.length - 4), /^k: truncated/],
    ["when it is a 32-bit program", buildElf({ entry: MIB, segments: [code] }), /32-bit ELF file with neither/],
    [
      "when it is a 64-bit program",
      buildElf({ bits: 64, machine: 62, segments: [code] }),
      /64-bit ELF file with neither/,
    ],
    [
      "when its PVH note has no address",
      buildElf({ segments: [code, noteSegment({ name: "Xen", type: 18, desc: [1] })] }),
      /PVH note/,
    ],
    [
      "when its PVH entry is beyond 4 GiB",
      buildElf({ segments: [code, noteSegment({ name: "Xen", type: 18, desc: [...u32le(0), ...u32le(1)] })] }),
      /no 32-bit address/,
    ],
    ["when its PVH entry is not loaded", buildElf({ segments: [code, pvhNote(5)] }), /entry point 0x5/],
    [
      "when its PVH entry is where the loaded bytes end",
      buildElf({ segments: [code, pvhNote(MIB + 9)] }),
      /entry point/,
    ],
    ["when its PVH entry lies in the bss", buildElf({ segments: [code, pvhNote(MIB + 0x1000)] }), /entry point/],
    ["when its ELF entry is not loaded", buildElf({ entry: 3, segments: [withHeader] }), /multiboot entry point 0x3/],
    ["when it loads nothing", buildElf({ segments: [pvhNote(MIB)] }), /nothing to load/],
    [
      "when its segments overlap",
      buildElf({ segments: [code, { ...code, gpa: MIB + 0x1fff }, pvhNote(MIB)] }),
      /overlap/,
    ],
    [
      "when a segment lies beyond 4 GiB",
      buildElf({ bits: 64, machine: 62, segments: [code, { ...code, gpa: 2 ** 32 }, pvhNote(MIB)] }),
      /beyond 4 GiB/,
    ],
    ["when its multiboot header demands video", multibootHeader(0x4), /video mode/],
    ["when its multiboot header demands the unknown", multibootHeader(0x100), /flags 0x100/],
    ["when its multiboot header has no addresses", multibootHeader(0x3), /no addresses/],
    ["when its multiboot header is cut off", multibootHeader(0x1_0000, [MIB]), /ends before/],
    [
      "when its multiboot header wants more than the file",
      multibootHeader(0x1_0000, [MIB, MIB, 2 * MIB, 0, MIB]),
      /truncated/,
    ],
    ["when its multiboot header loads below itself", multibootHeader(0x1_0000, [MIB, 0, 0, 0, 0]), /outside/],
    ["when its multiboot header loads above itself", multibootHeader(0x1_0000, [MIB, 2 * MIB, 0, 0, 0]), /outside/],
    [
      "when its multiboot header ends before it begins",
      multibootHeader(0x1_0000, [MIB, MIB, MIB - 1, 0, MIB]),
      /truncated/,
    ],
    [
      "when its multiboot header's bss ends too early",
      multibootHeader(0x1_0000, [MIB, MIB, 0, MIB + 1, MIB]),
      /bss before/,
    ],
    ["when its multiboot entry is not loaded", plainImage({ entry: 0 }), /entry point 0x0/],
  ])("%s", (_when, bytes, reason) => {
    const parse = () => parseKernel(bytes, "k");
    expect(parse).toThrow(BootError);
    expect(parse).toThrow(reason);
    expect(parse).toThrow(/^k: [^\n]+$/);
  });
});

it("takes only Xen's note of type 18 for a PVH entry", () => {
  for (const other of [
    { name: "Xen", type: 17 },
    { name: "GNU", type: 18 },
  ]) {
    const file = buildElf({ segments: [code, noteSegment({ ...other, desc: u32le(MIB) })] });
    expect(() => parseKernel(file, "k")).toThrow(/neither a PVH note/);
  }
});

it("takes a file for a bzImage only when it has both signatures", () => {
  for (const [offset, text] of [
    [0x1fe, "\u0055"],
    [0x202, "HdrS"],
  ] as const) {
    const file = new Uint8Array(4096);
    file.set(bytesOf(text), offset);
    expect(() => parseKernel(file, "k")).toThrow(/not a kernel/);
  }
});

it("takes no notice of segments that are empty", () => {
  const empty = { gpa: MIB + 4, bytes: new Uint8Array(0) };
  expect(parseKernel(buildElf({ segments: [code, empty, pvhNote(MIB)] }), "k").segments).toHaveLength(1);
});

it("passes on an error that is not about the file", () => {
  expect(() => parseKernel(undefined as unknown as Uint8Array, "k")).toThrow(TypeError);
});

it("takes no notice of a multiboot header with a wrong checksum, or beyond the first 8192 bytes", () => {
  const wrong = plainImage();
  wrong[8]! ^= 1;
  expect(() => parseKernel(wrong, "k")).toThrow(/not a kernel/);
  const late = new Uint8Array(8192 + 48);
  late.set(plainImage(), 8192);
  expect(() => parseKernel(late, "k")).toThrow(/not a kernel/);
});

it("finds the real header behind a false one", () => {
  const file = Uint8Array.from([...u32le(0x1badb002), ...u32le(1), ...u32le(1), ...plainImage()]);
  expect(parseKernel(file, "k").protocol).toBe("multiboot");
});

describe("whatever a file holds, it is a kernel or a BootError", () => {
  const kernels = [
    buildElf({ segments: [code, pvhNote(MIB)] }),
    buildElf({ bits: 64, machine: 62, segments: [code, pvhNote(MIB)] }),
    buildElf({ entry: 4 * MIB + 12, segments: [withHeader, code] }),
    plainImage(),
  ];

  function check(bytes: Uint8Array): void {
    try {
      const image = parseKernel(bytes, "k");
      let end = 0;
      for (const segment of image.segments) {
        expect(segment.bytes.length).toBeLessThanOrEqual(segment.memorySizeBytes);
        expect(segment.gpa).toBeGreaterThanOrEqual(end);
        end = segment.gpa + segment.memorySizeBytes;
      }
      expect(end).toBeLessThanOrEqual(2 ** 32);
    } catch (error) {
      if (!(error instanceof BootError)) throw error;
      expect(error.message).toMatch(/^k: [^\n]+$/);
    }
  }

  it("when a kernel is broken in places", () => {
    const interesting = fc.constantFrom(0, 1, 0x7f, 0x80, 0xff);
    const edit = fc.tuple(fc.nat({ max: 400 }), fc.oneof(interesting, fc.nat({ max: 0xff })));
    fc.assert(
      fc.property(
        fc.constantFrom(...kernels),
        fc.array(edit, { maxLength: 6 }),
        fc.nat({ max: 8 }),
        (kernel, edits, cut) => {
          const broken = kernel.slice(0, kernel.length - cut);
          for (const [offset, byte] of edits) if (offset < broken.length) broken[offset] = byte;
          check(broken);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("when it is noise behind a multiboot header", () => {
    const word = fc.oneof(fc.nat({ max: 0xffff_ffff }), fc.integer({ min: MIB, max: MIB + 64 }));
    fc.assert(
      fc.property(
        fc.array(word, { minLength: 5, maxLength: 5 }),
        fc.uint8Array({ maxLength: 64 }),
        (addresses, rest) => {
          check(Uint8Array.from([...multibootHeader(0x1_0000, addresses), ...rest]));
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("when it is noise", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), check), { numRuns: 500 });
  });
});

const embedded = embeddedGuestPath();
it.skipIf(!existsSync(embedded))("starts the embedded guest, which speaks both, by PVH", () => {
  const bytes = readFileSync(embedded);
  expect(findMultibootHeader(bytes)).toBeDefined();
  expect(parseKernel(bytes, embedded).protocol).toBe("pvh");
});
