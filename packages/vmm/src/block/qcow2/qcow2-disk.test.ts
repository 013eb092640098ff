import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import zlib from "node:zlib";
import { describe, expect, it } from "vitest";
import { openDisk } from "../open-disk.js";
import {
  CLEAN,
  contentsOf,
  expectSame,
  hasQemuImg,
  NEEDS_QEMU_IMG,
  pattern,
  qemuCheck,
  qemuContents,
  qemuImg,
  scratchFolder,
  writeRawFile,
} from "../testing.js";

const scratch = scratchFolder();
const SIZE = 2 ** 20 + 512;

/** Overwrites pieces of a disk, in ways that touch whole clusters and parts of them, and a model of it likewise. */
function scribble(path: string, model: Buffer, seed: number): void {
  const disk = openDisk(path, { format: "qcow2" });
  const pieces: [offset: number, length: number][] = [
    [0, 512],
    [1000, 70_000],
    [100_000, 3],
    [200_000, 150_000],
    [SIZE - 1000, 1000],
    [500_001, 131_072],
  ];
  for (const [i, [offset, length]] of pieces.entries()) {
    const bytes = pattern(length, seed + i);
    disk.writev(offset, [bytes.subarray(0, length >> 1), bytes.subarray(length >> 1)]);
    model.set(bytes, offset);
  }
  disk.writeZeroes(250_000, 150_000, true);
  model.fill(0, 250_000, 400_000);
  disk.writeZeroes(700_000, 140_000, false);
  model.fill(0, 700_000, 840_000);
  disk.flush();
  expectSame(contentsOf(disk), model, "before closing");
  disk.close();
}

function expectEverybodyReads(path: string, model: Buffer): void {
  expect(qemuCheck(path)).toEqual(CLEAN);
  const disk = openDisk(path, { format: "qcow2", readonly: true });
  expectSame(contentsOf(disk), model, "reopened");
  disk.close();
  expectSame(qemuContents(path), model, "qemu-img");
}

describe.skipIf(!hasQemuImg)(`an image made by qemu-img${NEEDS_QEMU_IMG}`, () => {
  const raw = scratch("source.raw");
  const source = writeRawFile(raw, SIZE, 1);

  const options = [
    "compat=0.10",
    "compat=1.1",
    "cluster_size=512",
    "cluster_size=4096",
    "cluster_size=2M",
    "compat=0.10,cluster_size=1024",
    "refcount_bits=1",
    "refcount_bits=2,cluster_size=512",
    "refcount_bits=4",
    "refcount_bits=8,cluster_size=1024",
    "refcount_bits=32,cluster_size=512",
    "refcount_bits=64,cluster_size=512",
    "preallocation=metadata",
    "preallocation=falloc,cluster_size=4096",
    "preallocation=full",
    "lazy_refcounts=on",
  ];
  it.each(options)("with %s is read, written and read again", (option) => {
    const path = scratch("made.qcow2");
    qemuImg("convert", "-f", "raw", "-O", "qcow2", "-o", option, raw, path);
    const model = Buffer.from(source);
    expectEverybodyReads(path, model);
    scribble(path, model, 100);
    expectEverybodyReads(path, model);
  });

  it.each(["compat=0.10", "cluster_size=512", "cluster_size=65536", "cluster_size=2M"])(
    "and compressed, with %s, is read, and written beside what is compressed",
    (option) => {
      const path = scratch("compressed.qcow2");
      qemuImg("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", option, raw, path);
      const model = Buffer.from(source);
      expectEverybodyReads(path, model);
      scribble(path, model, 200);
      expectEverybodyReads(path, model);
    },
  );

  it("and compressed by zstd is read where Node.js can, and refused by name where not", () => {
    const path = scratch("zstd.qcow2");
    for (const clusters of ["cluster_size=4096", "cluster_size=65536"]) {
      qemuImg("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", `compression_type=zstd,${clusters}`, raw, path);
      if ("zstdDecompressSync" in zlib) {
        const model = Buffer.from(source);
        expectEverybodyReads(path, model);
        scribble(path, model, 250);
        expectEverybodyReads(path, model);
      } else {
        expect(() => openDisk(path)).toThrow(/zstd compression, which Node.js [\d.]+ cannot read/);
      }
    }
  });

  it("and empty, of a terabyte, takes bytes at both ends", () => {
    const path = scratch("large.qcow2");
    qemuImg("create", "-q", "-f", "qcow2", path, "1T");
    const disk = openDisk(path);
    const bytes = pattern(5000, 3);
    for (const at of [0, 2 ** 40 - 5000]) disk.writev(at, [bytes]);
    disk.close();
    expect(qemuCheck(path)).toEqual(CLEAN);
    const again = openDisk(path, { readonly: true });
    const read = Buffer.alloc(5000);
    again.readv(2 ** 40 - 5000, [read]);
    expectSame(read, bytes, "the end");
    again.close();
  });

  it("and 8 MiB of 512-byte clusters with 64-bit refcounts, whose refcount table grows several times", () => {
    const path = scratch("growing.qcow2");
    const size = 8 * 2 ** 20;
    qemuImg("create", "-q", "-f", "qcow2", "-o", "cluster_size=512,refcount_bits=64", path, String(size));
    const model = pattern(size, 9);
    const disk = openDisk(path);
    for (let at = 0; at < size; at += 2 ** 20) disk.writev(at, [model.subarray(at, at + 2 ** 20)]);
    disk.close();
    expectEverybodyReads(path, model);
  });

  it("keeps its internal snapshots as they were", () => {
    const path = scratch("snapshots.qcow2");
    qemuImg("convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4096", raw, path);
    qemuImg("snapshot", "-c", "first", path);
    const model = Buffer.from(source);
    scribble(path, model, 300);
    qemuImg("snapshot", "-c", "second", path);
    const later = Buffer.from(model);
    const disk = openDisk(path);
    disk.discard(0, SIZE);
    disk.writev(4096, [pattern(10_000, 5)]);
    later.fill(0).set(pattern(10_000, 5), 4096);
    disk.close();
    expectEverybodyReads(path, later);
    for (const [name, expected] of [
      ["second", model],
      ["first", source],
    ] as const) {
      qemuImg("snapshot", "-a", name, path);
      expectEverybodyReads(path, expected);
    }
  });

  it("gives its file's space back when all of it is discarded", () => {
    const path = scratch("discarded.qcow2");
    qemuImg("convert", "-f", "raw", "-O", "qcow2", raw, path);
    const disk = openDisk(path);
    disk.discard(0, SIZE);
    disk.close();
    expectEverybodyReads(path, Buffer.alloc(SIZE));
    const info = JSON.parse(qemuImg("info", "--output=json", path)) as { "actual-size": number };
    expect(info["actual-size"]).toBeLessThan(600_000);
  });

  it("loses its persistent bitmaps' validity when it is written, and only then", () => {
    const path = scratch("bitmap.qcow2");
    qemuImg("create", "-q", "-f", "qcow2", path, "1M");
    qemuImg("bitmap", "--add", path, "changes");
    const before = readFileSync(path);
    expect(before.readBigUInt64BE(88)).toBe(1n);
    openDisk(path).close();
    expectSame(readFileSync(path), before, "opened and closed");
    const disk = openDisk(path);
    disk.writev(0, [pattern(512, 1)]);
    disk.close();
    expect(readFileSync(path).readBigUInt64BE(88)).toBe(0n);
    expect(qemuCheck(path).corruptions).toBe(0);
  });

  it("and marked dirty or damaged can be read, and says how it is mended when it is to be written", () => {
    const path = scratch("dirty.qcow2");
    for (const bit of [1n, 2n]) {
      qemuImg("convert", "-f", "raw", "-O", "qcow2", raw, path);
      const bytes = readFileSync(path);
      bytes.writeBigUInt64BE(bit, 72);
      writeFileSync(path, bytes);
      expect(() => openDisk(path)).toThrow(/qemu-img check -r all/);
      const disk = openDisk(path, { readonly: true });
      expectSame(contentsOf(disk), source, "read only");
      expect(() => disk.writev(0, [Buffer.alloc(512)])).toThrow(expect.objectContaining({ code: "EROFS" }));
      disk.close();
    }
  });

  it("with a feature that is not supported is refused by the feature's name", () => {
    const refused = (name: string, ...args: string[]) => {
      const path = scratch(`${name}.qcow2`);
      qemuImg("create", "-q", "-f", "qcow2", ...args, path, "4M");
      return () => openDisk(path, { readonly: true });
    };
    expect(refused("extended", "-o", "extended_l2=on")).toThrow(/extended L2 entries/);
    expect(refused("external", "-o", `data_file=${scratch("data")}`)).toThrow(/external data file/);
    const path = scratch("unknown.qcow2");
    qemuImg("create", "-q", "-f", "qcow2", path, "4M");
    const bytes = readFileSync(path);
    const patched = (patch: (bytes: Buffer) => void) => {
      const copy = Buffer.from(bytes);
      patch(copy);
      writeFileSync(path, copy);
      return () => openDisk(path);
    };
    expect(patched((b) => b.writeBigUInt64BE(1n << 40n, 72))).toThrow(/unknown incompatible feature bit 40$/);
    expect(patched((b) => b.writeUInt32BE(2, 32))).toThrow(/encrypted qcow2 image \(LUKS\)/);
  });

  it("is what qemu-img calls the same as its copy, after both were written alike", () => {
    const [ours, theirs] = [scratch("ours.qcow2"), scratch("theirs.qcow2")];
    qemuImg("convert", "-f", "raw", "-O", "qcow2", raw, ours);
    copyFileSync(ours, theirs);
    const disk = openDisk(ours);
    disk.writev(123_456, [Buffer.alloc(200_000, 0x5a)]);
    disk.close();
    qemuImg("bench", "-q", "-f", "qcow2", "-w", "--pattern=0x5a", "-c", "1", "-s", "200000", "-o", "123456", theirs);
    expect(qemuImg("compare", "-f", "qcow2", "-F", "qcow2", ours, theirs)).toContain("identical");
  });
});
