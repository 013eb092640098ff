import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { openHostFile } from "../host-file.js";
import { openDisk } from "../open-disk.js";
import {
  contentsOf,
  type FileChange,
  hasQemuImg,
  NEEDS_QEMU_IMG,
  pattern,
  qemuCheck,
  qemuImg,
  RecordedFile,
  replay,
  scratchFolder,
  writeRawFile,
} from "../testing.js";
import { parseHeader } from "./header.js";
import { Qcow2Disk } from "./qcow2-disk.js";

const scratch = scratchFolder();
const SIZE = 384 * 1024;
/** POWER_CUTS=200 is a night's run. */
const CUTS = Number(process.env.POWER_CUTS ?? 10);

/** Whole numbers below a bound, the same in every run. */
function numbers(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

interface Recording {
  readonly before: Buffer;
  readonly changes: readonly FileChange[];
  /** What the disk held after each operation, and how many changes of the file it took until then. */
  readonly versions: readonly { readonly contents: Buffer; readonly changes: number; readonly flushed: boolean }[];
}

/** Lets a guest do this and that, and records what reaches the image's file. */
function record(path: string, seed: number): Recording {
  const before = readFileSync(path);
  const file = new RecordedFile(openHostFile(path, { readonly: false }));
  const header = parseHeader(before, before.length);
  const backing = header.backing && openDisk(header.backing.name, { format: "qcow2", readonly: true });
  const disk = new Qcow2Disk(file, header, { backing });
  const below = numbers(seed);
  const versions: { contents: Buffer; changes: number; flushed: boolean }[] = [];
  const note = (flushed: boolean) =>
    versions.push({ contents: contentsOf(disk), changes: file.changes.length, flushed });
  note(true);
  for (let i = 0; i < 60; i++) {
    const offset = below(SIZE - 1);
    const length = 1 + below(Math.min(SIZE - offset, i % 4 === 0 ? 60_000 : 3000));
    const what = below(10);
    if (what < 5) disk.writev(offset, [pattern(length, seed * 100 + i)]);
    else if (what < 6) disk.discard(offset, Math.min(SIZE - offset, length * 8));
    else if (what < 8) disk.writeZeroes(offset, length, what === 7);
    else disk.flush();
    note(what >= 8);
  }
  disk.close();
  return { before, changes: file.changes, versions };
}

/** Each byte is what it was at the last flush, or what it became after that, at the latest by the operation that was cut off. */
function expectOneOfTheVersions(contents: Buffer, { versions }: Recording, changesDone: number, what: string): void {
  let last = versions.findIndex(({ changes }) => changes > changesDone);
  if (last < 0) last = versions.length - 1;
  const lastFlush = versions.findLastIndex(({ flushed, changes }) => flushed && changes <= changesDone);
  const possible = versions.slice(lastFlush, last + 1).map((version) => version.contents);
  for (let i = 0; i < contents.length; i++) {
    if (possible.some((version) => version[i] === contents[i])) continue;
    expect.fail(`${what}: byte ${i} is ${contents[i]}, and never was since the last flush`);
  }
}

describe.skipIf(!hasQemuImg)(`a power cut at any point${NEEDS_QEMU_IMG}`, () => {
  const raw = scratch("source.raw");
  writeRawFile(raw, SIZE, 1, 5000);
  const base = scratch("base.qcow2");
  qemuImg("convert", "-f", "raw", "-O", "qcow2", raw, base);

  const images: Record<string, (path: string) => void> = {
    "an empty image": (path) =>
      qemuImg("create", "-q", "-f", "qcow2", "-o", "cluster_size=512,refcount_bits=64", path, String(SIZE)),
    "an image whose refcount table grows": (path) => {
      // A table of one cluster counts 2 MiB. Snapshots fill them.
      qemuImg("create", "-q", "-f", "qcow2", "-o", "cluster_size=512,refcount_bits=64", path, String(SIZE));
      for (let i = 0; i < 5; i++) {
        const disk = openDisk(path);
        disk.writev(0, [pattern(SIZE, i)]);
        disk.close();
        qemuImg("snapshot", "-c", `${i}`, path);
      }
    },
    "a full image of version 2": (path) =>
      qemuImg("convert", "-f", "raw", "-O", "qcow2", "-o", "compat=0.10,cluster_size=1024", raw, path),
    "an overlay": (path) =>
      qemuImg("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, "-o", "cluster_size=2048", path),
    "a compressed image": (path) =>
      qemuImg("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4096", raw, path),
    "an image with a snapshot": (path) => {
      qemuImg("convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=1024", raw, path);
      qemuImg("snapshot", "-c", "before", path);
    },
  };

  it.each(Object.entries(images))("of %s leaves no corruption, and what was flushed", (_name, make) => {
    const path = scratch("recorded.qcow2");
    make(path);
    const recording = record(path, 7);
    const cut = scratch("cut.qcow2");
    for (const { done, survived, what } of powerCuts(recording.changes)) {
      writeFileSync(cut, replay(recording.before, survived));
      expect(qemuCheck(cut).corruptions, what).toBe(0);
      const disk = openDisk(cut, { format: "qcow2", readonly: true });
      expectOneOfTheVersions(contentsOf(disk), recording, done, what);
      disk.close();
    }
  });

  it("is recorded while tables of every kind come into being", () => {
    const path = scratch("recorded.qcow2");
    images["an image whose refcount table grows"]!(path);
    const before = parseHeader(readFileSync(path), 2 ** 40);
    record(path, 7);
    const after = parseHeader(readFileSync(path), 2 ** 40);
    expect(after.refcountTableClusters).toBeGreaterThan(before.refcountTableClusters);
  });
});

/**
 * Cuts here and there, most of them near a flush, where tables are written. The host orders only by flushes: of what came after
 * the last one, any part may be there.
 */
function* powerCuts(changes: readonly FileChange[]): Generator<{ done: number; survived: FileChange[]; what: string }> {
  const below = numbers(11);
  const nearFlush = changes
    .flatMap(({ kind }, i) => (kind === "flush" ? [i - 1, i, i, i, i + 2] : []))
    .filter((i) => i > 0);
  for (let i = 0; i < CUTS; i++) {
    const done = i % 4 === 0 ? below(changes.length) : nearFlush[below(nearFlush.length)]!;
    const lastFlush = changes.slice(0, done).findLastIndex(({ kind }) => kind === "flush");
    const what = `after ${done} of ${changes.length} changes`;
    yield { done, survived: changes.slice(0, done), what: `${what}, in order` };
    const survived = changes.slice(0, done).filter((_change, at) => at <= lastFlush || below(2) === 0);
    yield { done, survived, what: `${what}, in any order` };
  }
}
