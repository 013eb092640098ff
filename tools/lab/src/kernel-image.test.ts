import { spawnSync } from "node:child_process";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hasNote, isElf64, isStatic, segments } from "./elf.js";
import { LabError } from "./errors.js";
import { identifyKernel, moduleKernelVersion, unpackBzImage } from "./kernel-image.js";

const PT_INTERP = 3;
const PT_NOTE = 4;

/** A 64-bit ELF with these segments and nothing else. */
function elf(...list: { type: number; content: Buffer }[]): Buffer {
  const header = Buffer.alloc(64);
  header.write("\x7fELF", "latin1");
  header[4] = 2;
  header.writeBigUInt64LE(64n, 32);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(list.length, 56);
  const table = Buffer.alloc(56 * list.length);
  let offset = 64 + table.length;
  list.forEach(({ type, content }, index) => {
    table.writeUInt32LE(type, index * 56);
    table.writeBigUInt64LE(BigInt(offset), index * 56 + 8);
    table.writeBigUInt64LE(BigInt(content.length), index * 56 + 32);
    offset += content.length;
  });
  return Buffer.concat([header, table, ...list.map(({ content }) => content)]);
}

function note(name: string, type: number, content: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(name.length + 1, 0);
  head.writeUInt32LE(content.length, 4);
  head.writeUInt32LE(type, 8);
  const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
  return Buffer.concat([head, padded(Buffer.from(`${name}\0`)), padded(content)]);
}

const PVH = note("Xen", 18, Buffer.alloc(8));
const pvhKernel = elf({ type: PT_NOTE, content: Buffer.concat([note("GNU", 3, Buffer.alloc(20)), PVH]) });

/** A bzImage of protocol 2.08 with one setup sector and this payload. */
function bzImage(payload: Buffer, version = "6.1.0-test (somebody) #1"): Buffer {
  const setup = Buffer.alloc(1024);
  setup[0x1f1] = 1;
  setup.write("HdrS", 0x202, "latin1");
  setup.writeUInt16LE(0x0208, 0x206);
  setup.writeUInt16LE(0x300 - 0x200, 0x20e);
  setup.write(`${version}\0`, 0x300, "latin1");
  setup.writeUInt32LE(16, 0x248);
  setup.writeUInt32LE(payload.length, 0x24c);
  return Buffer.concat([setup, Buffer.alloc(16), payload]);
}

function withSize(compressed: Buffer, unpackedBytes: number): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(unpackedBytes);
  return Buffer.concat([compressed, size]);
}

describe("a kernel file", () => {
  it("is told by what is in it, with its version", () => {
    expect(identifyKernel(bzImage(Buffer.alloc(64)))).toEqual({ kind: "bzImage", version: "6.1.0-test" });
    expect(identifyKernel(pvhKernel)).toEqual({ kind: "elf", version: undefined, hasPvhEntry: true });
    const banner = elf({ type: 1, content: Buffer.from("Linux version 6.12.0-rc1+ (gcc) #2\n\0") });
    expect(identifyKernel(banner)).toEqual({ kind: "elf", version: "6.12.0-rc1+", hasPvhEntry: false });
    for (const other of [Buffer.alloc(0), Buffer.from("#!/bin/sh\n"), Buffer.alloc(4096)]) {
      expect(identifyKernel(other)).toBeUndefined();
    }
  });

  it("gives its ELF when its payload unpacks to the size it says and has a PVH entry", () => {
    expect(unpackBzImage(bzImage(gzipSync(pvhKernel)), "k")?.equals(pvhKernel)).toBe(true);
    expect(unpackBzImage(bzImage(withSize(pvhKernel, 1)), "k")).toBeUndefined();
    const plain = elf({ type: 1, content: Buffer.alloc(8) });
    expect(unpackBzImage(bzImage(gzipSync(plain)), "k")).toBeUndefined();
  });

  const hasXz = spawnSync("xz", ["--version"]).status === 0;
  it.skipIf(!hasXz)("unpacks from xz too, behind which the kernel build puts the size (needs xz)", () => {
    const packed = spawnSync("xz", ["-c", "--check=crc32"], { input: pvhKernel }).stdout;
    expect(unpackBzImage(bzImage(withSize(packed, pvhKernel.length)), "k")?.equals(pvhKernel)).toBe(true);
  });

  it("may hold anything: the answer is a kernel, none, or a LabError", () => {
    const junk = fc.uint8Array({ maxLength: 2048 }).map((bytes) => Buffer.from(bytes));
    const broken = fc.tuple(fc.constantFrom(pvhKernel, bzImage(gzipSync(pvhKernel))), fc.nat(1200), junk);
    fc.assert(
      fc.property(fc.oneof(junk, broken.map(breakAt)), (file) => {
        const image = identifyKernel(file);
        if (image?.kind !== "bzImage") return;
        try {
          unpackBzImage(file, "k");
        } catch (error) {
          expect(error).toBeInstanceOf(LabError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

/** The file with up to eight other bytes somewhere. */
function breakAt([file, at, junk]: [Buffer, number, Buffer]): Buffer {
  const copy = Buffer.from(file);
  junk.copy(copy, Math.min(at, copy.length), 0, 8);
  return copy;
}

describe("an ELF", () => {
  it("is static when it asks for no loader", () => {
    expect(isStatic(elf({ type: 1, content: Buffer.alloc(4) }))).toBe(true);
    expect(isStatic(elf({ type: PT_INTERP, content: Buffer.from("/lib64/ld-linux-x86-64.so.2\0") }))).toBe(false);
    expect(isStatic(Buffer.from("#!/bin/sh"))).toBe(false);
  });

  it("has the notes it has, whatever their lengths", () => {
    expect(hasNote(pvhKernel, "Xen", 18)).toBe(true);
    expect(hasNote(pvhKernel, "Xen", 17)).toBe(false);
    expect(hasNote(pvhKernel, "GNU", 3)).toBe(true);
  });

  it("names no segment outside the file", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 64, maxLength: 400 }), (bytes) => {
        const file = Buffer.concat([Buffer.from("\x7fELF\x02", "latin1"), Buffer.from(bytes)]);
        expect(isElf64(file)).toBe(true);
        for (const { offset, size } of segments(file)) expect(offset + size).toBeLessThanOrEqual(file.length);
      }),
    );
  });
});

describe("a module", () => {
  it("names the kernel it was built for", () => {
    expect(moduleKernelVersion(Buffer.from("\0vermagic=6.1.0-13-amd64 SMP preempt mod_unload \0"))).toBe(
      "6.1.0-13-amd64",
    );
    expect(moduleKernelVersion(Buffer.from("nothing"))).toBeUndefined();
  });
});
