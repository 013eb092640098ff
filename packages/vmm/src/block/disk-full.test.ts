import { execFileSync, spawnSync } from "node:child_process";
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { DiskImage } from "./disk-image.js";
import { openHostFile } from "./host-file.js";
import { openDisk } from "./open-disk.js";
import { createQcow2 } from "./qcow2/create.js";
import { parseHeader } from "./qcow2/header.js";
import { Qcow2Disk } from "./qcow2/qcow2-disk.js";
import { contentsOf, expectSame, hasQemuImg, pattern, qemuCheck, RecordedFile, scratchFolder } from "./testing.js";

const scratch = scratchFolder();
const SIZE = 256 * 1024;

const codeOf = (act: () => void): string => {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(Error);
    return String((error as NodeJS.ErrnoException).code);
  }
  return "";
};

const step = 24_000;
const clusterBytes = 512;

/** Writes over the disk, piece by piece and some of it twice, and says which pieces failed. */
function work(disk: DiskImage): { model: Buffer; codes: string[] } {
  const model = Buffer.alloc(SIZE);
  const codes: string[] = [];
  for (let i = 0; i < 14; i++) {
    const at = (i % 9) * step + 100;
    const bytes = pattern(step, i);
    const code = codeOf(() => (i % 5 === 4 ? disk.writeZeroes(at, step, true) : disk.writev(at, [bytes])));
    // What a failed request has done is unknown: it is looked at, and may be nothing but the old or the new.
    if (code === "") i % 5 === 4 ? model.fill(0, at, at + step) : bytes.copy(model, at);
    else {
      const now = Buffer.alloc(step);
      disk.readv(at, [now]);
      const written = i % 5 === 4 ? Buffer.alloc(step) : bytes;
      expect(now.every((byte, at_) => byte === written[at_] || byte === model[at + at_])).toBe(true);
      now.copy(model, at);
    }
    codes.push(code);
    if (i % 4 === 3) codes.push(codeOf(() => disk.flush()));
  }
  return { model, codes };
}

describe("a change of the file that fails, whichever it is,", () => {
  const open = () => {
    const path = scratch("failing.qcow2");
    rmSync(path, { force: true });
    createQcow2(path, { sizeBytes: SIZE, clusterBytes });
    const head = readFileSync(path);
    const file = new RecordedFile(openHostFile(path, { readonly: false }));
    return { path, file, disk: new Qcow2Disk(file, parseHeader(head, head.length)) };
  };

  it("fails one request with its code, spoils nothing else, and leaves no corruption", () => {
    const whole = open();
    expect(new Set(work(whole.disk).codes)).toEqual(new Set([""]));
    whole.disk.close();
    const total = whole.file.changes.length;
    expect(total).toBeGreaterThan(40);
    for (let failing = 0; failing < total; failing += 3) {
      const { path, file, disk } = open();
      let count = 0;
      file.beforeChange = () => {
        if (count++ === failing) throw Object.assign(new Error("no room"), { code: "ENOSPC" });
      };
      const { model, codes } = work(disk);
      expect(codes.filter((code) => code !== "").length, `change ${failing}`).toBeLessThanOrEqual(1);
      expect(
        codeOf(() => disk.flush()),
        `change ${failing}`,
      ).toBe(codes.includes("ENOSPC") ? "" : "ENOSPC");
      expectSame(contentsOf(disk), model, `after change ${failing} failed`);
      disk.close();
      const again = openDisk(path, { readonly: true });
      expectSame(contentsOf(again), model, `reopened after change ${failing} failed`);
      again.close();
      if (hasQemuImg && failing % 6 === 0) expect(qemuCheck(path).corruptions, `change ${failing}`).toBe(0);
    }
  });
});

describe("a real limit", () => {
  it("of the file's size makes requests fail with EFBIG, and after it is lifted they succeed", () => {
    const path = scratch("limited.qcow2");
    createQcow2(path, { sizeBytes: SIZE, clusterBytes: 4096 });
    const disk = openDisk(path);
    const limit = (bytes: number | "unlimited") =>
      execFileSync("prlimit", ["--pid", String(process.pid), `--fsize=${bytes}:unlimited`]);
    const bytes = pattern(SIZE, 1);
    limit(100_000);
    try {
      expect(codeOf(() => disk.writev(0, [bytes]))).toBe("EFBIG");
    } finally {
      limit("unlimited");
    }
    disk.writev(0, [bytes]);
    disk.close();
    const again = openDisk(path, { readonly: true });
    expectSame(contentsOf(again), bytes, "after the limit was lifted");
    again.close();
    if (hasQemuImg) expect(qemuCheck(path).corruptions).toBe(0);
  });

  const mounted = scratch("small");
  mkdirSync(mounted);
  const isRoot = process.getuid?.() === 0;
  const canMount = isRoot && spawnSync("mount", ["-t", "tmpfs", "-o", "size=200k", "small", mounted]).status === 0;

  afterAll(() => spawnSync("umount", ["--lazy", mounted]));

  it.skipIf(!canMount)(
    "of the file system's space makes requests fail with ENOSPC (needs root, to mount a tmpfs)",
    () => {
      for (const format of ["raw", "qcow2"] as const) {
        const path = join(mounted, `full.${format}`);
        if (format === "qcow2") createQcow2(path, { sizeBytes: SIZE, clusterBytes: 4096 });
        else {
          const fd = openSync(path, "w");
          ftruncateSync(fd, SIZE);
          closeSync(fd);
        }
        const disk = openDisk(path);
        const bytes = pattern(50_000, 3);
        disk.writev(0, [bytes]);
        expect(codeOf(() => disk.writev(0, [pattern(SIZE, 1)]))).toBe("ENOSPC");
        disk.discard(0, SIZE);
        disk.writev(100_000, [bytes]);
        disk.flush();
        const read = Buffer.alloc(50_000);
        disk.readv(100_000, [read]);
        expectSame(read, bytes, format);
        disk.close();
        rmSync(path);
      }
    },
  );

  it("of a file that somebody truncates makes reads fail with EIO, and writes put it right", () => {
    for (const format of ["raw", "qcow2"] as const) {
      const path = scratch(`truncated.${format}`);
      if (format === "raw") writeFileSync(path, pattern(SIZE, 1));
      else createQcow2(path, { sizeBytes: SIZE, clusterBytes: 4096 });
      const disk = openDisk(path);
      const bytes = pattern(SIZE, 2);
      disk.writev(0, [bytes]);
      disk.flush();
      truncateSync(path, 100_000);
      expect(codeOf(() => contentsOf(disk))).toBe("EIO");
      disk.writev(0, [bytes]);
      expectSame(contentsOf(disk), bytes, format);
      disk.close();
    }
  });
});
