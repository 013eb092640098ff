import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { describe, expect, it } from "vitest";
import { type OpenDiskOptions, openDisk } from "./open-disk.js";
import { createQcow2 } from "./qcow2/create.js";
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
} from "./testing.js";

const scratch = scratchFolder();
const SIZE = 200 * 1024;

const withCode = (code: string, message = /./) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

const raw = scratch("base.raw");
const base = writeRawFile(raw, SIZE, 1, 10_000);

function contentsAt(path: string, options: OpenDiskOptions = {}): Buffer {
  const disk = openDisk(path, { readonly: true, ...options });
  try {
    return contentsOf(disk);
  } finally {
    disk.close();
  }
}

describe("the format", () => {
  const qcow2 = scratch("empty.qcow2");
  createQcow2(qcow2, { sizeBytes: SIZE });
  const header = readFileSync(qcow2);

  it("is qcow2 by contents when no other file is named there", () => {
    const path = scratch("disk.img");
    writeFileSync(path, header);
    expect(contentsAt(path)).toHaveLength(SIZE);
  });

  it("is not believed when a backing file is named and only the contents say so", () => {
    const path = scratch("overlay.img");
    createQcow2(path, { sizeBytes: SIZE, backing: { name: "base.raw", format: "raw" } });
    expect(() => openDisk(path)).toThrow(withCode("EPERM", /name its format/));
    expectSame(contentsAt(path, { format: "qcow2" }), base, "told");
    renameSync(path, scratch("overlay.qcow2"));
    expectSame(contentsAt(scratch("overlay.qcow2")), base, "named");
    expect(() => openDisk(scratch("overlay.qcow2"), { allowBacking: false })).toThrow(withCode("EPERM", /not allowed/));
  });

  it("is raw otherwise, and then the guest cannot make it look like qcow2", () => {
    const path = scratch("plain.img");
    writeFileSync(path, pattern(SIZE, 1));
    const disk = openDisk(path);
    expect(() => disk.writev(0, [header.subarray(0, 1024)])).toThrow(withCode("EPERM"));
    disk.writev(1, [header.subarray(1, 512)]);
    expect(() => disk.writev(0, [header.subarray(0, 1)])).toThrow(withCode("EPERM"));
    const bytes = pattern(3000, 7);
    disk.writev(100, [bytes.subarray(0, 10), bytes.subarray(10)]);
    disk.close();
    const expected = pattern(SIZE, 1);
    header.copy(expected, 1, 1, 512);
    bytes.copy(expected, 100);
    expectSame(readFileSync(path), expected, "the rest");
  });

  it("when it is told raw, takes any bytes", () => {
    const path = scratch("told.img");
    writeFileSync(path, Buffer.alloc(SIZE));
    const disk = openDisk(path, { format: "raw" });
    disk.writev(0, [header.subarray(0, 512)]);
    disk.close();
    expectSame(contentsAt(path, { format: "raw" }).subarray(0, 512), header.subarray(0, 512), "the header");
  });

  it("when it is told or named qcow2 and the image is none, is an error", () => {
    const path = scratch("none.qcow2");
    writeFileSync(path, Buffer.alloc(1024));
    expect(() => openDisk(path)).toThrow(withCode("EINVAL", /none\.qcow2: not a qcow2 image/));
    writeFileSync(path, "");
    expect(() => openDisk(path)).toThrow(withCode("EINVAL"));
  });
});

describe("backing files", () => {
  it("show through where nothing was written, and are never written", () => {
    const [middle, top] = [scratch("middle.qcow2"), scratch("top.qcow2")];
    mkdirSync(scratch("folder"));
    createQcow2(middle, { sizeBytes: SIZE + 4096, clusterBytes: 1024, backing: { name: "base.raw", format: "raw" } });
    createQcow2(top, { sizeBytes: SIZE + 8192, clusterBytes: 4096, backing: { name: middle, format: "qcow2" } });
    const model = Buffer.concat([base, Buffer.alloc(8192)]);
    const inMiddle = openDisk(middle);
    inMiddle.writev(5000, [pattern(5000, 8)]);
    pattern(5000, 8).copy(model, 5000);
    inMiddle.close();
    const before = readFileSync(middle);
    const disk = openDisk(top);
    disk.writev(7000, [pattern(100, 9)]);
    pattern(100, 9).copy(model, 7000);
    disk.discard(40_000, 20_000);
    model.fill(0, 40_960, 57_344);
    disk.writev(SIZE - 10, [pattern(3000, 10)]);
    pattern(3000, 10).copy(model, SIZE - 10);
    disk.close();
    expectSame(contentsAt(top), model, "through three layers");
    expectSame(readFileSync(raw), base, "the base");
    expectSame(readFileSync(middle), before, "the middle");
    if (!hasQemuImg) return;
    expect(qemuCheck(top)).toEqual(CLEAN);
    expectSame(qemuContents(top), model, "by qemu-img");
  });

  it("are found beside the image that names them", () => {
    const path = scratch("folder/relative.qcow2");
    createQcow2(path, { sizeBytes: SIZE, backing: { name: "../base.raw", format: "raw" } });
    expectSame(contentsAt(path), base, "relative");
  });

  it("that go in a circle, or on without end, are refused", () => {
    const [a, b] = [scratch("a.qcow2"), scratch("b.qcow2")];
    createQcow2(a, { sizeBytes: SIZE, backing: { name: "link.qcow2", format: "qcow2" } });
    symlinkSync(a, scratch("link.qcow2"));
    expect(() => openDisk(a)).toThrow(withCode("ELOOP", /its own backing file/));
    createQcow2(b, { sizeBytes: SIZE, backing: { name: "a.qcow2", format: "qcow2" } });
    expect(() => openDisk(b, { readonly: true })).toThrow(withCode("ELOOP"));
    for (let i = 0; i < 40; i++) {
      createQcow2(scratch(`chain${i}.qcow2`), {
        sizeBytes: SIZE,
        clusterBytes: 512,
        ...(i > 0 ? { backing: { name: `chain${i - 1}.qcow2`, format: "qcow2" } } : {}),
      });
    }
    expect(() => openDisk(scratch("chain39.qcow2"))).toThrow(withCode("ELOOP", /32 backing files/));
    expect(contentsAt(scratch("chain30.qcow2"))).toHaveLength(SIZE);
  });

  it("that are no files are refused by their name, and what is missing by its path", () => {
    const refused = (name: string) => {
      const path = scratch(`names-${name.length}.qcow2`);
      createQcow2(path, { sizeBytes: SIZE, backing: { name, format: "raw" } });
      return () => openDisk(path);
    };
    expect(refused("nbd://localhost/disk")).toThrow(withCode("ENOTSUP", /nbd:/));
    expect(refused('json:{"driver":"null"}')).toThrow(withCode("ENOTSUP", /json:/));
    expect(refused("/dev/zero")).toThrow(withCode("EINVAL", /neither a file nor a block device/));
    expect(refused("no-such-file")).toThrow(withCode("ENOENT", /no-such-file/));
    expect(refused("/dev")).toThrow(withCode("EINVAL"));
  });

  it.skipIf(!hasQemuImg)(
    `without a format in their overlay are not taken for qcow2 by contents alone${NEEDS_QEMU_IMG}`,
    () => {
      const [bottom, middle, top] = [scratch("bottom.img"), scratch("unnamed.img"), scratch("unnamed-top.qcow2")];
      writeFileSync(bottom, base);
      qemuImg("create", "-q", "-f", "qcow2", "-F", "raw", "-b", bottom, middle);
      qemuImg("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", middle, top);
      const bytes = readFileSync(top);
      // Away with the extension that names the format, as in images of old.
      bytes.writeUInt32BE(0x12345678, bytes.indexOf(Buffer.from([0xe2, 0x79, 0x2a, 0xca])));
      writeFileSync(top, bytes);
      expect(() => openDisk(top)).toThrow(withCode("EPERM", /name its format/));
    },
  );
});

describe("an image in use", () => {
  const path = scratch("locked.qcow2");
  createQcow2(path, { sizeBytes: SIZE });

  it("is not opened again for writing, nor for reading while it is written", () => {
    const writer = openDisk(path);
    expect(() => openDisk(path)).toThrow(withCode("EBUSY", /in use by another process/));
    expect(() => openDisk(path, { readonly: true })).toThrow(withCode("EBUSY", /being written/));
    openDisk(path, { readonly: true, lock: false }).close();
    writer.close();
    const readers = [openDisk(path, { readonly: true }), openDisk(path, { readonly: true })];
    expect(() => openDisk(path)).toThrow(withCode("EBUSY"));
    for (const reader of readers) reader.close();
    openDisk(path).close();
  });

  it("stays free when opening it fails", () => {
    const broken = scratch("broken.qcow2");
    writeFileSync(broken, "QFI\xfb", "latin1");
    for (let i = 0; i < 3; i++) expect(() => openDisk(broken)).toThrow(withCode("EINVAL"));
  });

  it.skipIf(!hasQemuImg)(`keeps QEMU's tools out, and they keep us out${NEEDS_QEMU_IMG}`, async () => {
    const theirs = () => spawnSync("qemu-io", ["-f", "qcow2", "-c", "read 0 512", path], { encoding: "utf8" });
    const writer = openDisk(path);
    expect(theirs().stderr + theirs().stdout).toMatch(/lock/);
    writer.close();
    const reader = openDisk(path, { readonly: true });
    expect(theirs().stderr + theirs().stdout).toMatch(/lock/);
    const info = spawnSync("qemu-img", ["info", path], { encoding: "utf8" });
    expect(info.status).toBe(0);
    reader.close();
    expect(theirs().status).toBe(0);
    const { spawn } = await import("node:child_process");
    const qemuIo = spawn("qemu-io", ["-f", "qcow2", path]);
    await new Promise((resolve) => qemuIo.stdout.once("data", resolve));
    expect(() => openDisk(path)).toThrow(withCode("EBUSY"));
    expect(() => openDisk(path, { readonly: true })).toThrow(withCode("EBUSY"));
    qemuIo.stdin.end("quit\n");
    await new Promise((resolve) => qemuIo.once("close", resolve));
    openDisk(path).close();
  });
});

it("a path that is no image is an error with a code, and waits for nobody", () => {
  expect(() => openDisk(scratch("nothing"))).toThrow(withCode("ENOENT"));
  expect(() => openDisk(dirname(raw))).toThrow(withCode("EINVAL"));
  spawnSync("mkfifo", [scratch("fifo")]);
  expect(() => openDisk(scratch("fifo"))).toThrow(withCode("EINVAL"));
});
