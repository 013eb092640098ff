import { spawnSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { GuestMemory } from "@tools-kvm/kvm-binding";
import { describe, expect, it } from "vitest";
import { openDisk } from "./open-disk.js";
import { expectSame, pattern, scratchFolder } from "./testing.js";

const scratch = scratchFolder();
const SIZE = 2 ** 20 + 512;

const withCode = (code: string) => expect.objectContaining({ code });

describe.each(["writeback", "direct"] as const)("a raw file with cache=%s", (cache) => {
  const path = scratch(`${cache}.raw`);

  it("is read into guest memory and written from it, aligned or not", () => {
    const model = pattern(SIZE, 1);
    writeFileSync(path, model);
    using memory = GuestMemory.create({ sizeBytes: 2 ** 20 });
    const disk = openDisk(path, { cache });
    for (const [at, from, length] of [
      [0, 0, 65536],
      [4096, 4096, 8192],
      [512, 4096, 8192],
      [SIZE - 5000, 1, 5000],
      [7, 3, 300_000],
      [4096, 100, 500_000],
    ] as const) {
      const half = Math.floor(length / 2);
      const buffers = [memory.bytes.subarray(from, from + half), memory.bytes.subarray(from + half, from + length)];
      disk.readv(at, buffers);
      expectSame(Buffer.concat(buffers), model.subarray(at, at + length), `read ${at}`);
      memory.bytes.set(pattern(length, at + 1), from);
      disk.writev(at, buffers);
      pattern(length, at + 1).copy(model, at);
    }
    disk.flush();
    expectSame(readFileSync(path), model, "the file");
    disk.close();
  });

  it("takes more buffers in one request than the kernel does", () => {
    writeFileSync(path, Buffer.alloc(SIZE));
    const disk = openDisk(path, { cache });
    const bytes = pattern(5000 * 3, 2);
    disk.writev(
      1,
      Array.from({ length: 5000 }, (_, i) => bytes.subarray(i * 3, i * 3 + 3)),
    );
    const into = Array.from({ length: 5000 }, () => new Uint8Array(3));
    disk.readv(1, into);
    expectSame(Buffer.concat(into), bytes, "as many buffers");
    disk.close();
  });

  it("gives space back on discard, and on write zeroes when that may be", () => {
    writeFileSync(path, pattern(SIZE, 3));
    const disk = openDisk(path, { cache });
    const blocks = () => statSync(path).blocks * 512;
    const whole = blocks();
    disk.discard(0, 2 ** 19);
    expect(blocks()).toBeLessThanOrEqual(whole - 2 ** 18);
    const afterDiscard = blocks();
    disk.writeZeroes(2 ** 19, 2 ** 18, false);
    expect(blocks()).toBeGreaterThanOrEqual(afterDiscard);
    disk.writeZeroes(2 ** 19 + 2 ** 18, 2 ** 18, true);
    expect(blocks()).toBeLessThan(afterDiscard);
    disk.close();
    expectSame(readFileSync(path), Buffer.concat([Buffer.alloc(2 ** 20), pattern(SIZE, 3).subarray(2 ** 20)]), "zeros");
  });
});

describe("a raw disk", () => {
  it("refuses what is not on it, and what it was not opened for", () => {
    const path = scratch("small.raw");
    writeFileSync(path, Buffer.alloc(1000));
    const disk = openDisk(path);
    for (const [at, length] of [
      [1000, 1],
      [999, 2],
      [-1, 1],
      [0.5, 1],
      [Number.NaN, 1],
      [2 ** 60, 1],
    ] as const) {
      expect(() => disk.readv(at, [new Uint8Array(length)])).toThrow(withCode("EINVAL"));
      expect(() => disk.writev(at, [new Uint8Array(length)])).toThrow(withCode("EINVAL"));
      expect(() => disk.discard(at, length)).toThrow(withCode("EINVAL"));
      expect(() => disk.writeZeroes(at, length, true)).toThrow(withCode("EINVAL"));
    }
    disk.close();
    disk.close();
    const reader = openDisk(path, { readonly: true });
    expect(reader.readonly).toBe(true);
    expect(() => reader.writev(0, [new Uint8Array(1)])).toThrow(withCode("EROFS"));
    expect(() => reader.discard(0, 1)).toThrow(withCode("EROFS"));
    expect(() => reader.writeZeroes(0, 1, false)).toThrow(withCode("EROFS"));
    reader.flush();
    reader.close();
    expect(readFileSync(path)).toHaveLength(1000);
  });

  const file = scratch("device.raw");
  writeFileSync(file, pattern(2 ** 20, 4));
  const loop = spawnSync("losetup", ["--find", "--show", file], { encoding: "utf8" });
  const device = loop.status === 0 ? loop.stdout.trim() : undefined;

  it.skipIf(device === undefined)("may be a block device (needs root and a free loop device)", () => {
    try {
      const disk = openDisk(device!);
      expect(disk.sizeBytes).toBe(2 ** 20);
      const read = Buffer.alloc(5000);
      disk.readv(2 ** 20 - 5000, [read]);
      expectSame(read, pattern(2 ** 20, 4).subarray(2 ** 20 - 5000), "read");
      disk.writev(3, [pattern(9000, 5)]);
      disk.writeZeroes(65536, 65536, true);
      disk.discard(0, 512);
      disk.flush();
      disk.readv(65530, [read]);
      expect(read.subarray(6).every((byte) => byte === 0)).toBe(true);
      disk.close();
    } finally {
      spawnSync("losetup", ["--detach", device!]);
    }
  });
});
