import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ElfError, isElf, parseElf } from "./elf.js";
import { buildElf, bytesOf, noteSegment, u32le } from "./testing.js";

const MIB = 2 ** 20;
const text = { gpa: MIB, bytes: bytesOf("code"), memorySizeBytes: 0x1000 };

/** A copy of `file` with the bytes at `offset` replaced. */
function patched(file: Uint8Array, offset: number, ...bytes: number[]): Uint8Array {
  const copy = file.slice();
  copy.set(bytes, offset);
  return copy;
}

describe.each([32, 64] as const)("a %i-bit file", (bits) => {
  const file = buildElf({
    bits,
    machine: bits === 32 ? 3 : 62,
    entry: MIB,
    segments: [text, noteSegment({ name: "Xen", type: 18, desc: [1, 2, 3, 4] })],
  });

  it("is read with its segments and notes", () => {
    const elf = parseElf(file);
    expect(elf.bits).toBe(bits);
    expect(elf.entry).toBe(MIB);
    expect(elf.programHeaders[0]).toMatchObject({ type: 1, physAddr: MIB, memorySizeBytes: 0x1000 });
    expect(new TextDecoder().decode(elf.programHeaders[0]!.bytes)).toBe("code");
    expect(elf.notes).toHaveLength(1);
    expect(elf.notes[0]).toMatchObject({ name: "Xen", type: 18 });
    expect([...elf.notes[0]!.desc]).toEqual([1, 2, 3, 4]);
  });

  it("is read when it stands in the middle of a larger buffer", () => {
    const larger = new Uint8Array(file.length + 20);
    larger.set(file, 7);
    expect(parseElf(larger.subarray(7, 7 + file.length))).toEqual(parseElf(file));
  });

  it("is refused at every length short of its end, as truncated or as no ELF file", () => {
    for (let length = 0; length < file.length; length++) {
      expect(() => parseElf(file.subarray(0, length))).toThrow(ElfError);
    }
  });

  it("never makes the parser throw anything but ElfError, or see beyond the file, whatever is broken in it", () => {
    const edits = fc.array(fc.tuple(fc.nat({ max: file.length - 1 }), fc.nat({ max: 0xff })), { maxLength: 8 });
    fc.assert(
      fc.property(edits, fc.nat({ max: file.length }), (edits, cut) => {
        const broken = file.slice(0, file.length - (cut % 16));
        for (const [offset, byte] of edits) if (offset < broken.length) broken[offset] = byte;
        try {
          for (const { bytes, memorySizeBytes, type } of parseElf(broken).programHeaders) {
            expect(bytes.buffer).toBe(broken.buffer);
            if (type === 1) expect(bytes.length).toBeLessThanOrEqual(memorySizeBytes);
          }
        } catch (error) {
          if (!(error instanceof ElfError)) throw error;
          expect(error.message).not.toContain("\n");
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("a file is refused, with the reason,", () => {
  const file = buildElf({ entry: MIB, segments: [text] });
  it.each<[string, Uint8Array, RegExp]>([
    ["when it is not ELF", bytesOf("#!/bin/sh"), /not an ELF file/],
    ["when it is cut off in its header", file.subarray(0, 20), /truncated: 20 bytes/],
    ["when it is cut off in its program headers", file.subarray(0, 60), /program headers lie beyond/],
    ["when it is cut off in a segment", file.subarray(0, file.length - 1), /program header 0 wants bytes/],
    ["when it is neither 32-bit nor 64-bit", patched(file, 4, 3), /neither 32-bit nor 64-bit/],
    ["when it is big-endian", patched(file, 5, 2), /big-endian/],
    ["when its version is unknown", patched(file, 6, 9), /unknown version/],
    ["when it is for another processor", patched(file, 18, 183), /e_machine 183/],
    ["when it is an object file", patched(file, 16, 1), /not executable/],
    ["when it has no program headers", patched(file, 44, 0), /without program headers/],
    ["when it has too many program headers", patched(file, 44, 0xff, 0xff), /65535/],
    ["when its program headers have a strange size", patched(file, 42, 56), /program headers of 56 bytes/],
    [
      "when a segment is larger in the file than in memory",
      patched(file, 52 + 20, 1, 0, 0, 0),
      /more bytes in the file/,
    ],
  ])("%s", (_when, bytes, reason) => {
    expect(() => parseElf(bytes)).toThrow(ElfError);
    expect(() => parseElf(bytes)).toThrow(reason);
  });

  it("when a note is longer than its segment", () => {
    const note = noteSegment({ name: "Xen", type: 18, desc: [1, 2, 3, 4] });
    note.bytes[4] = 200;
    expect(() => parseElf(buildElf({ segments: [note] }))).toThrow(/note that is longer/);
  });
});

describe("notes", () => {
  const two = (alignBytes: 4 | 8) => {
    const pad = (bytes: number[]) => [
      ...bytes,
      ...new Array<number>((alignBytes - (bytes.length % alignBytes)) % alignBytes).fill(0),
    ];
    // A header of 12 bytes and a name of 6 end in the middle of an alignment unit, whatever that is.
    const note = (type: number, desc: number[]) =>
      pad([...pad([...u32le(6), ...u32le(desc.length), ...u32le(type), ...bytesOf("Owner"), 0]), ...desc]);
    const bytes = Uint8Array.from([...note(1, [1, 2, 3]), ...note(2, [4]), ...note(3, [])]);
    return buildElf({ segments: [{ type: 4, gpa: 0, bytes, alignBytes }] });
  };

  it.each([4, 8] as const)("are padded to %i bytes when their segment says so", (alignBytes) => {
    expect(parseElf(two(alignBytes)).notes.map(({ name, type, desc }) => ({ name, type, desc: [...desc] }))).toEqual([
      { name: "Owner", type: 1, desc: [1, 2, 3] },
      { name: "Owner", type: 2, desc: [4] },
      { name: "Owner", type: 3, desc: [] },
    ]);
  });

  it("may have no name and nothing to say", () => {
    const bytes = Uint8Array.from([...u32le(0), ...u32le(0), ...u32le(7)]);
    expect(parseElf(buildElf({ segments: [{ type: 4, gpa: 0, bytes }] })).notes).toMatchObject([{ name: "", type: 7 }]);
  });
});

it("knows an ELF file by its first four bytes", () => {
  expect(isElf(Uint8Array.from([0x7f, 0x45, 0x4c, 0x46]))).toBe(true);
  expect(isElf(Uint8Array.from([0x7f, 0x45, 0x4c]))).toBe(false);
});
