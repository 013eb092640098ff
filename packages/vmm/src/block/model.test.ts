import { copyFileSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { DiskImage } from "./disk-image.js";
import { type DiskFormat, type OpenDiskOptions, openDisk } from "./open-disk.js";
import { createQcow2 } from "./qcow2/create.js";
import {
  CLEAN,
  contentsOf,
  expectSame,
  hasQemuImg,
  NEEDS_QEMU_IMG,
  pattern,
  qemuCheck,
  qemuImg,
  scratchFolder,
  writeRawFile,
} from "./testing.js";

const scratch = scratchFolder();
const SIZE = 150 * 512;

interface Subject {
  readonly name: string;
  readonly format: DiskFormat;
  /** Makes an image; returns what the disk holds. */
  readonly make: (path: string) => Buffer;
  /** Whole units of this are zeroed by a discard. */
  readonly unitBytes: number;
  /** A discard leaves everything before this as it is. */
  readonly keepsBelow?: number;
  readonly options?: OpenDiskOptions;
}

const raw = scratch("base.raw");
const content = writeRawFile(raw, SIZE, 1, 3000);
const shortRaw = scratch("short.raw");
const short = Buffer.alloc(SIZE);
writeRawFile(shortRaw, 40_000, 2, 3000).copy(short);

const blank = (options: Parameters<typeof createQcow2>[1]) => {
  const template = scratch(`template-${Object.values(options).map(String).join("-")}.qcow2`);
  createQcow2(template, options);
  return (path: string) => copyFileSync(template, path);
};
const byQemu = (name: string, ...args: string[]) => {
  const template = scratch(`${name}.qcow2`);
  if (hasQemuImg) qemuImg(args[0]!, ...args.slice(1), template, ...(args[0] === "create" ? [String(SIZE)] : []));
  return (path: string) => copyFileSync(template, path);
};
const holding = (make: (path: string) => void, contents: Buffer) => (path: string) => {
  make(path);
  return Buffer.from(contents);
};

const zeros = Buffer.alloc(SIZE);
const ours: Subject[] = [
  { name: "raw", format: "raw", make: holding((path) => writeFileSync(path, content), content), unitBytes: 1 },
  {
    name: "raw, past the page cache",
    format: "raw",
    make: holding((path) => writeFileSync(path, content), content),
    unitBytes: 1,
    options: { cache: "direct" },
  },
  {
    name: "qcow2, clusters of 512",
    format: "qcow2",
    make: holding(blank({ sizeBytes: SIZE, clusterBytes: 512 }), zeros),
    unitBytes: 512,
  },
  {
    name: "qcow2, clusters of 64 KiB, past the page cache",
    format: "qcow2",
    make: holding(blank({ sizeBytes: SIZE }), zeros),
    unitBytes: 65536,
    options: { cache: "direct" },
  },
  {
    name: "qcow2 on a shorter raw file",
    format: "qcow2",
    make: holding(blank({ sizeBytes: SIZE, clusterBytes: 1024, backing: { name: shortRaw, format: "raw" } }), short),
    unitBytes: 1024,
  },
];
const theirs: Subject[] = [
  {
    name: "qcow2 of version 2",
    format: "qcow2",
    make: holding(byQemu("v2", "create", "-q", "-f", "qcow2", "-o", "compat=0.10,cluster_size=1024"), zeros),
    unitBytes: 1024,
  },
  {
    name: "qcow2 of version 2 on a raw file",
    format: "qcow2",
    make: holding(
      byQemu(
        "v2-backed",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        "compat=0.10,cluster_size=1024",
        "-F",
        "raw",
        "-b",
        shortRaw,
      ),
      short,
    ),
    unitBytes: 1024,
    keepsBelow: 40_000,
  },
  {
    name: "qcow2, compressed",
    format: "qcow2",
    make: holding(
      byQemu("packed", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=2048", raw),
      content,
    ),
    unitBytes: 2048,
  },
  {
    name: "qcow2, refcounts of one bit, preallocated",
    format: "qcow2",
    make: holding(
      byQemu(
        "reserved",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        "cluster_size=4096,refcount_bits=1,preallocation=metadata",
      ),
      zeros,
    ),
    unitBytes: 4096,
  },
];

interface Transfer {
  readonly kind: "readv" | "writev";
  readonly at: number;
  readonly lengths: readonly number[];
  readonly shared: boolean;
}
interface Zeroing {
  readonly kind: "discard" | "writeZeroes";
  readonly at: number;
  readonly length: number;
  readonly mayUnmap: boolean;
}
type Operation = Transfer | Zeroing | { readonly kind: "flush" | "reopen" };

const at = fc.oneof(
  fc.nat({ max: SIZE }),
  fc.nat({ max: SIZE / 512 }).map((sector) => sector * 512),
);
const length = fc.oneof(
  fc.nat({ max: 3000 }),
  fc.nat({ max: 40 }).map((sectors) => sectors * 512),
);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom("readv" as const, "writev" as const),
      at,
      lengths: fc.array(length, { maxLength: 4 }),
      shared: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom("discard" as const, "writeZeroes" as const),
      at,
      length: fc.oneof(length, fc.nat({ max: SIZE })),
      mayUnmap: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("flush" as const, "reopen" as const) }) },
);

function transfer(disk: DiskImage, model: Buffer, { kind, at, lengths, shared }: Transfer, seed: number): void {
  let end = at;
  const buffers = lengths.map((wanted) => {
    const lengthBytes = Math.min(wanted, SIZE - end);
    const buffer = new Uint8Array(shared ? new SharedArrayBuffer(lengthBytes) : new ArrayBuffer(lengthBytes));
    buffer.set(pattern(lengthBytes, seed));
    end += lengthBytes;
    return buffer;
  });
  disk[kind](at, buffers);
  if (kind === "writev") Buffer.concat(buffers).copy(model, at);
  else expectSame(Buffer.concat(buffers), model.subarray(at, end), `read ${seed}`);
}

function zero(disk: DiskImage, model: Buffer, { kind, at, length, mayUnmap }: Zeroing, subject: Subject): void {
  const lengthBytes = Math.min(length, SIZE - at);
  const end = at + lengthBytes;
  if (kind === "writeZeroes") {
    disk.writeZeroes(at, lengthBytes, mayUnmap);
    model.fill(0, at, end);
    return;
  }
  disk.discard(at, lengthBytes);
  const { unitBytes, keepsBelow = 0 } = subject;
  const firstUnit = Math.ceil(at / unitBytes);
  const endUnit = end === SIZE ? Math.ceil(end / unitBytes) : Math.floor(end / unitBytes);
  for (let unit = firstUnit; unit < endUnit; unit++) {
    if (unit * unitBytes >= keepsBelow) model.fill(0, unit * unitBytes, Math.min(SIZE, (unit + 1) * unitBytes));
  }
}

function run(subject: Subject, operations: readonly Operation[]): void {
  const path = scratch(`subject.${subject.format}`);
  const model = subject.make(path);
  const open = (): DiskImage => openDisk(path, { ...subject.options, format: subject.format });
  let disk = open();
  try {
    for (const [i, operation] of operations.entries()) {
      if (operation.kind === "readv" || operation.kind === "writev") transfer(disk, model, operation, i);
      else if (operation.kind === "discard" || operation.kind === "writeZeroes") zero(disk, model, operation, subject);
      else if (operation.kind === "flush") disk.flush();
      else {
        disk.close();
        disk = open();
      }
    }
    expectSame(contentsOf(disk), model, "at the end");
  } finally {
    disk.close();
  }
  if (subject.format === "qcow2" && hasQemuImg) expect(qemuCheck(path)).toEqual(CLEAN);
}

function behavesLikeBytes(subject: Subject): void {
  const operations = fc.array(operation, { minLength: 1, maxLength: 40, size: "max" });
  fc.assert(
    fc.property(operations, (list) => run(subject, list)),
    { numRuns: 20 },
  );
}

describe("any sequence of requests finds what an array of bytes would hold, and leaves a clean image", () => {
  it.each(ours)("of a disk that is $name", behavesLikeBytes);
  it.skipIf(!hasQemuImg).each(theirs)(`of a disk that is $name${NEEDS_QEMU_IMG}`, behavesLikeBytes);
});
