import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { embeddedGuestPath } from "./embedded-guest.js";

const MIB = 2 ** 20;
const file = readFileSync(embeddedGuestPath());

/** Program headers of an ELF32 file (TIS ELF 1.2, figure 2-1). */
function programHeaders() {
  const [start, size, count] = [file.readUInt32LE(28), file.readUInt16LE(42), file.readUInt16LE(44)];
  return Array.from({ length: count }, (_, index) => {
    const at = start + size * index;
    const [type, offset, vaddr, paddr, fileSize, memorySize] = [0, 4, 8, 12, 16, 20].map((o) =>
      file.readUInt32LE(at + o),
    );
    return { type: type!, offset: offset!, vaddr: vaddr!, paddr: paddr!, fileSize: fileSize!, memorySize: memorySize! };
  });
}
const PT_LOAD = 1;
const PT_NOTE = 4;
const segments = programHeaders().filter(({ type }) => type === PT_LOAD);

/** Whether the file has bytes for this address, so that there can be code. */
const isLoaded = (address: number) =>
  segments.some(({ paddr, fileSize }) => address >= paddr && address < paddr + fileSize);

describe("the embedded guest's file", () => {
  it("is at most 64 KiB", () => {
    expect(file.length).toBeLessThanOrEqual(64 * 1024);
  });

  it("is an ELF file of 32 bits for the i386, as Multiboot loaders take no other", () => {
    const [ELFCLASS32, EM_386] = [1, 3];
    expect(file.subarray(0, 4).toString("latin1")).toBe("\x7fELF");
    expect(file[4]).toBe(ELFCLASS32);
    expect(file.readUInt16LE(18)).toBe(EM_386);
  });

  it("has a Multiboot header in its first 8 KiB, with the right checksum and no demand but memory information", () => {
    const offset = file.indexOf(Buffer.from([0x02, 0xb0, 0xad, 0x1b]));
    expect(offset % 4).toBe(0);
    expect(offset).toBeGreaterThan(0);
    expect(offset + 12).toBeLessThanOrEqual(8192);
    const [magic, flags, checksum] = [0, 4, 8].map((field) => file.readUInt32LE(offset + field));
    expect((magic! + flags! + checksum!) % 2 ** 32).toBe(0);
    expect(flags).toBe(2);
  });

  it("names its PVH entry in a Xen note of type 18", () => {
    const note = programHeaders().find(({ type }) => type === PT_NOTE)!;
    const [nameSize, descSize, type] = [0, 4, 8].map((field) => file.readUInt32LE(note.offset + field));
    expect([nameSize, descSize, type]).toEqual([4, 4, 18]);
    expect(file.subarray(note.offset + 12, note.offset + 16).toString("latin1")).toBe("Xen\0");
    expect(isLoaded(file.readUInt32LE(note.offset + 16))).toBe(true);
  });

  it("has its Multiboot entry in what is loaded", () => {
    expect(isLoaded(file.readUInt32LE(24))).toBe(true);
  });

  it("lies between 1 MiB and 3 MiB, without overlaps, each segment at its own virtual address", () => {
    let free = MIB;
    for (const { vaddr, paddr, memorySize } of segments) {
      expect(paddr).toBeGreaterThanOrEqual(free);
      expect(vaddr).toBe(paddr);
      free = paddr + memorySize;
    }
    expect(segments[0]!.paddr).toBe(MIB);
    expect(free).toBeLessThanOrEqual(3 * MIB);
  });
});

/** Beyond plain integer code: what a host that emulates guest kernels may not know, or must not be asked. */
const FORBIDDEN =
  /^(int\d?|into|syscall|sysret|sysenter|sysexit|vmcall|vmmcall|endbr(32|64)|popcnt|[lt]zcnt|andn|bextr|bls\w+|bzhi|pext|pdep|mulx|rorx|sarx|shlx|shrx|xsave\w*|xrstor\w*|xgetbv|xsetbv|cmpxchg16b|clac|stac|rdrand|rdseed|f(ld|st|init|ninit|xsave|xrstor)\w*|emms)$/;

describe("the embedded guest's code", () => {
  const hasObjdump = (() => {
    try {
      execFileSync("objdump", ["--version"]);
      return true;
    } catch {
      return false;
    }
  })();

  it.skipIf(!hasObjdump)(
    `is plain integer instructions, but for the popcnt of "fault badins"${hasObjdump ? "" : " (skipped: no objdump)"}`,
    () => {
      const image = fileURLToPath(new URL("../build/guest/guest.debug", import.meta.url));
      const listing = execFileSync("objdump", ["--disassemble", "--no-show-raw-insn", image], { encoding: "utf8" });
      const instructions = [...listing.matchAll(/^ +[0-9a-f]+:\t(?:(?:lock|rep|repz|data16|cs) )*(\S+)(.*)$/gm)];
      expect(instructions.length).toBeGreaterThan(1000);
      const found = instructions
        .filter(([, mnemonic, operands]) => FORBIDDEN.test(mnemonic!) || /%([xyz]?mm\d|st\b)/.test(operands!))
        .map(([, mnemonic]) => mnemonic);
      expect(found).toEqual(["popcnt"]);
    },
  );
});
