import { readFileSync, statSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DiskError } from "../errors.js";
import { openDisk } from "../open-disk.js";
import { hasQemuImg, NEEDS_QEMU_IMG, pattern, qemuImg, scratchFolder, writeRawFile } from "../testing.js";
import { createQcow2 } from "./create.js";
import { headerAreaBytes, parseHeader } from "./header.js";

const scratch = scratchFolder();
const SIZE = 128 * 1024;

/** Bytes that are overwritten at a place; some of them are numbers that mean something there. */
interface Edit {
  readonly at: number;
  readonly bytes: Buffer;
}

const values = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 8 }).map((bytes) => Buffer.from(bytes)),
  fc
    .tuple(
      fc.constantFrom(0n, 1n, 1n << 62n, 1n << 63n, 3n << 62n),
      fc.oneof(
        fc.nat({ max: 400 }).map((cluster) => BigInt(cluster) * 512n),
        fc.bigInt({ min: 0n, max: 2n ** 62n }),
      ),
    )
    .map(([flags, offset]) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64BE((flags | offset) & 0xffffffffffffffffn);
      return bytes;
    }),
  fc.constantFrom(0, 1, 0xffffffff, 0x7fffffff, 0x10000).map((value) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  }),
);

/** Edits within these ranges of the file, on boundaries of eight bytes more often than not. */
function editsOf(ranges: readonly (readonly [start: number, end: number])[]): fc.Arbitrary<Edit[]> {
  const place = fc.constantFrom(...ranges).chain(([start, end]) =>
    fc.oneof(
      fc.integer({ min: start, max: end - 1 }),
      fc.integer({ min: start / 8, max: end / 8 - 1 }).map((i) => Math.ceil(i) * 8),
    ),
  );
  return fc.array(fc.record({ at: place, bytes: values }), { minLength: 1, maxLength: 6 });
}

function edited(image: Buffer, edits: readonly Edit[]): Buffer {
  const bytes = Buffer.from(image);
  for (const { at, bytes: by } of edits) by.copy(bytes, at);
  return bytes;
}

const headerAndTables = (image: Buffer): [number, number][] => {
  const { l1TableOffset, refcountTableOffset, clusterBytes } = parseHeader(image, image.length);
  const pointers = (table: number) =>
    Array.from({ length: 16 }, (_, i) => Number(image.readBigUInt64BE(table + i * 8) & 0x00fffffffffffe00n));
  const tables = [...pointers(l1TableOffset), ...pointers(refcountTableOffset)].filter((offset) => offset !== 0);
  return [
    [0, 112],
    [0, 112],
    ...[l1TableOffset, refcountTableOffset].map((at): [number, number] => [at, at + 64]),
    ...tables.map((at): [number, number] => [at, at + clusterBytes]),
  ];
};

/** What an engine throws for its own mistakes. */
function expectClearError(error: unknown): void {
  expect(error).toBeInstanceOf(Error);
  const { code, message } = error as NodeJS.ErrnoException;
  expect(code, (error as Error).stack).toMatch(/^E[A-Z]+$/);
  expect(message).not.toContain("\n");
}

function attempt(act: () => void): void {
  try {
    act();
  } catch (error) {
    expectClearError(error);
  }
}

/** Uses an image as a guest would: here and there, and at the end. */
function use(path: string, readonly: boolean): void {
  attempt(() => {
    const disk = openDisk(path, { format: "qcow2", readonly, allowBacking: false, lock: false });
    expect(disk.sizeBytes).toBeLessThanOrEqual(Number.MAX_SAFE_INTEGER);
    const into = new Uint8Array(Math.min(20_000, disk.sizeBytes));
    const bytes = pattern(into.length, 1);
    const ends = [0, 30_001, 65_536, disk.sizeBytes - into.length].filter(
      (at) => at >= 0 && at + into.length <= disk.sizeBytes,
    );
    for (const at of ends) attempt(() => disk.readv(at, [into]));
    for (const at of ends) {
      if (readonly) break;
      attempt(() => disk.writev(at, [bytes]));
      attempt(() => disk.discard(at, into.length));
      attempt(() => disk.writeZeroes(at, into.length, at % 2 === 0));
      attempt(() => disk.writev(at, [bytes.subarray(0, 700)]));
      attempt(() => disk.flush());
    }
    attempt(() => disk.close());
  });
}

/** So far a file may grow by what was written: a cluster of 2 MiB each time, and tables. */
const MOST_BYTES = 2 ** 30;

const raw = scratch("source.raw");
writeRawFile(raw, SIZE, 1, 5000);

const made: Record<string, () => string> = {
  "of 512-byte clusters": () => {
    const path = scratch("plain.qcow2");
    createQcow2(path, { sizeBytes: SIZE, clusterBytes: 512 });
    const disk = openDisk(path);
    disk.writev(0, [pattern(SIZE / 2, 2)]);
    disk.close();
    return path;
  },
};
const byQemu: Record<string, () => string> = {
  compressed: () => {
    const path = scratch("packed.qcow2");
    qemuImg("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4096", raw, path);
    return path;
  },
  "with a snapshot": () => {
    const path = scratch("snapshot.qcow2");
    qemuImg("convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=1024,refcount_bits=8", raw, path);
    qemuImg("snapshot", "-c", "s", path);
    return path;
  },
};

function survives(make: () => string): void {
  const image = readFileSync(make());
  const path = scratch("hostile.qcow2");
  fc.assert(
    fc.property(editsOf(headerAndTables(image)), fc.boolean(), fc.nat({ max: 9 }), (edits, readonly, cut) => {
      const bytes = edited(image, edits);
      // One in ten is cut off as well.
      const broken = cut === 0 ? bytes.subarray(0, edits[0]!.at) : bytes;
      writeFileSync(path, broken);
      use(path, readonly);
      if (readonly) expect(readFileSync(path).equals(broken)).toBe(true);
      else expect(statSync(path).size).toBeLessThan(MOST_BYTES);
    }),
    { numRuns: RUNS },
  );
}

/** HOSTILE_RUNS=20000 is a night's run. */
const RUNS = Number(process.env.HOSTILE_RUNS ?? 250);

describe("an image whose header and tables are damaged gives clear errors, or something to read, and stays what it is", () => {
  it.each(Object.entries(made))("%s", (_name, make) => survives(make));
  it.skipIf(!hasQemuImg).each(Object.entries(byQemu))(`%s${NEEDS_QEMU_IMG}`, (_name, make) => survives(make));
});

describe("a header", () => {
  const path = scratch("header.qcow2");
  createQcow2(path, { sizeBytes: SIZE, clusterBytes: 4096, backing: { name: "base.raw", format: "raw" } });
  const image = readFileSync(path);

  it("never makes the parser throw anything but DiskError, whatever is broken in it or missing", () => {
    fc.assert(
      fc.property(editsOf([[0, 200]]), fc.nat({ max: 5000 }), (edits, length) => {
        const bytes = edited(image, edits).subarray(0, length % 3 === 0 ? length : undefined);
        try {
          headerAreaBytes(bytes);
          const header = parseHeader(bytes, 2 ** 40);
          expect(header.l1Entries * 8).toBeLessThanOrEqual(32 * 2 ** 20);
          expect(header.refcountTableClusters * header.clusterBytes).toBeLessThanOrEqual(8 * 2 ** 20);
        } catch (error) {
          expect(error).toBeInstanceOf(DiskError);
          expectClearError(error);
        }
      }),
      { numRuns: 3000 },
    );
  });

  const patched = (patch: (bytes: Buffer) => void) => {
    const bytes = Buffer.from(image);
    patch(bytes);
    return () => parseHeader(bytes, image.length);
  };
  it.each<[string, (bytes: Buffer) => void, RegExp]>([
    ["with another magic", (b) => b.writeUInt8(0, 0), /not a qcow2 image/],
    ["of a version to come", (b) => b.writeUInt32BE(4, 4), /version 4/],
    ["with huge clusters", (b) => b.writeUInt32BE(22, 20), /2\^22/],
    ["with a huge L1 table", (b) => b.writeUInt32BE(0xffffffff, 36), /L1 table of 34359738360 bytes/],
    ["with a small L1 table", (b) => b.writeUInt32BE(0, 36), /too small/],
    ["with an L1 table between clusters", (b) => b.writeBigUInt64BE(512n, 40), /no cluster's start/],
    ["with an L1 table outside the file", (b) => b.writeBigUInt64BE(1n << 40n, 40), /beyond the end/],
    ["without a refcount table", (b) => b.writeUInt32BE(0, 56), /without a refcount table/],
    ["with a huge refcount table", (b) => b.writeUInt32BE(0xffff, 56), /refcount table of/],
    ["with wide refcounts", (b) => b.writeUInt32BE(7, 96), /2\^7 bits/],
    ["with a header length of its own", (b) => b.writeUInt32BE(105, 100), /header length of 105/],
    ["with an endless extension", (b) => b.writeUInt32BE(0xffffffff, 116), /longer than the room/],
    ["with a backing name outside", (b) => b.writeUInt32BE(1024, 16), /backing file name of 1024 bytes/],
    ["with a size beyond any file", (b) => b.writeBigUInt64BE(1n << 60n, 24), /beyond what a file can hold/],
    ["with a compression unannounced", (b) => b.writeUInt8(1, 104), /compression type 1 does not agree/],
  ])("%s is refused, with the reason", (_name, patch, reason) => {
    expect(patched(patch)).toThrow(reason);
    expect(patched(patch)).toThrow(DiskError);
  });

  it("with an unknown feature is refused by the name that the image gives it", () => {
    const bytes = Buffer.alloc(4096);
    image.copy(bytes, 0, 0, 112);
    bytes.writeBigUInt64BE(0n, 8);
    bytes.writeBigUInt64BE(1n << 9n, 72);
    bytes.writeUInt32BE(0x6803f857, 112);
    bytes.writeUInt32BE(48, 116);
    bytes.writeUInt8(9, 121);
    bytes.write("time\x1b[31m travel", 122, "latin1");
    expect(() => parseHeader(bytes, 2 ** 40)).toThrow("bit 9 (time?[31m travel)");
  });
});

it("data never goes where the image's own tables are, though its tables say so", () => {
  const path = scratch("overlap.qcow2");
  createQcow2(path, { sizeBytes: SIZE, clusterBytes: 4096 });
  const first = openDisk(path);
  first.writev(0, [pattern(8192, 1)]);
  first.close();
  const image = readFileSync(path);
  const { l1TableOffset, refcountTableOffset } = parseHeader(image, image.length);
  const l2TableOffset = Number(image.readBigUInt64BE(l1TableOffset) & 0x00fffffffffffe00n);
  const refcountBlock = Number(image.readBigUInt64BE(refcountTableOffset));
  for (const target of [l1TableOffset, l2TableOffset, refcountTableOffset, refcountBlock]) {
    image.writeBigUInt64BE((1n << 63n) | BigInt(target), l2TableOffset);
    writeFileSync(path, image);
    const disk = openDisk(path);
    expect(() => disk.writev(0, [Buffer.alloc(4096, 0xff)])).toThrow(/is damaged: cluster \d+ has two uses/);
    disk.writev(4096, [pattern(4096, 5)]);
    disk.close();
    expect(
      readFileSync(path)
        .subarray(target, target + 4096)
        .equals(image.subarray(target, target + 4096)),
    ).toBe(true);
  }
});
