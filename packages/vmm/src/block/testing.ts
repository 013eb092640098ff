/** What the tests of disk images share: QEMU's tools, patterns, and a file that records what is done to it. Not exported. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect } from "vitest";
import { totalBytes } from "./buffers.js";
import type { DiskImage } from "./disk-image.js";
import type { HostFile } from "./host-file.js";

export const hasQemuImg = spawnSync("qemu-img", ["--version"]).error === undefined;
export const NEEDS_QEMU_IMG = hasQemuImg ? "" : " (skipped: no qemu-img)";

/** A folder for one test file, removed when its tests are done. */
export function scratchFolder(): (name: string) => string {
  const folder = mkdtempSync(join(tmpdir(), "disk-image-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  return (name) => join(folder, name);
}

export function qemuImg(...args: string[]): string {
  return execFileSync("qemu-img", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

export interface CheckResult {
  readonly corruptions: number;
  readonly leaks: number;
}

/** What `qemu-img check` finds. Errors of the check itself throw. */
export function qemuCheck(path: string): CheckResult {
  const { stdout, stderr, status } = spawnSync("qemu-img", ["check", "--output=json", "-f", "qcow2", path], {
    encoding: "utf8",
  });
  // 0: clean, 2: corruptions, 3: leaks. Anything else is no answer.
  if (status !== 0 && status !== 2 && status !== 3) throw new Error(`qemu-img check ${path}: ${status} ${stderr}`);
  const { corruptions = 0, leaks = 0, "check-errors": errors } = JSON.parse(stdout) as Record<string, number>;
  if (errors !== 0) throw new Error(`qemu-img check ${path}: ${stdout}`);
  return { corruptions, leaks };
}

export const CLEAN: CheckResult = { corruptions: 0, leaks: 0 };

/** The disk's contents as qemu-img reads them. */
export function qemuContents(path: string, format = "qcow2"): Buffer {
  const raw = `${path}.contents`;
  qemuImg("convert", "-f", format, "-O", "raw", path, raw);
  const bytes = readFileSync(raw);
  rmSync(raw);
  return bytes;
}

/** The disk's contents as a DiskImage reads them, in requests of uneven size and several buffers. */
export function contentsOf(disk: DiskImage): Buffer {
  const bytes = Buffer.alloc(disk.sizeBytes);
  const step = 100_000;
  for (let at = 0; at < bytes.length; at += step) {
    const part = bytes.subarray(at, at + step);
    disk.readv(at, [part.subarray(0, 777), part.subarray(777)]);
  }
  return bytes;
}

/** Bytes that tell where they belong: no two sectors alike, none all zero. */
export function pattern(lengthBytes: number, seed: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let i = 0; i < lengthBytes; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = (state >>> 24) | 1;
  }
  return bytes;
}

/** Writes a raw file in which patterns and holes alternate. */
export function writeRawFile(path: string, sizeBytes: number, seed: number, chunkBytes = 50_000): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  for (let at = 0, i = 0; at < sizeBytes; at += chunkBytes, i++) {
    if (i % 3 !== 2) bytes.set(pattern(Math.min(chunkBytes, sizeBytes - at), seed + i), at);
  }
  writeFileSync(path, bytes);
  return bytes;
}

/** Bytes are compared as a whole: a diff of megabytes helps nobody. */
export function expectSame(actual: Uint8Array, expected: Uint8Array, what: string): void {
  const same = Buffer.compare(actual, expected) === 0;
  const length = Math.min(actual.length, expected.length);
  let first = 0;
  if (!same) while (first < length && actual[first] === expected[first]) first++;
  expect({ same, length: actual.length }, `${what}: differs at ${first}`).toEqual({
    same: true,
    length: expected.length,
  });
}

/** One thing that was done to a file. */
export type FileChange =
  | { readonly kind: "write"; readonly offset: number; readonly bytes: Buffer }
  | { readonly kind: "zero"; readonly offset: number; readonly lengthBytes: number }
  | { readonly kind: "flush" };

/** A host file that keeps a record of its changes, and can be told to fail. */
export class RecordedFile implements HostFile {
  readonly changes: FileChange[] = [];
  /** Called before each change; may throw. */
  beforeChange: (change: FileChange) => void = () => {};
  readonly #file: HostFile;

  constructor(file: HostFile) {
    this.#file = file;
  }

  get path(): string {
    return this.#file.path;
  }
  get readonly(): boolean {
    return this.#file.readonly;
  }
  get identity(): string {
    return this.#file.identity;
  }
  get endBytes(): number {
    return this.#file.endBytes;
  }

  readv(offset: number, into: readonly Uint8Array[]): void {
    this.#file.readv(offset, into);
  }

  writev(offset: number, from: readonly Uint8Array[]): void {
    this.#record({ kind: "write", offset, bytes: Buffer.concat(from, totalBytes(from)) });
    this.#file.writev(offset, from);
  }

  punchHole(offset: number, lengthBytes: number): boolean {
    this.#record({ kind: "zero", offset, lengthBytes });
    return this.#file.punchHole(offset, lengthBytes);
  }

  zeroRange(offset: number, lengthBytes: number): void {
    this.#record({ kind: "zero", offset, lengthBytes });
    this.#file.zeroRange(offset, lengthBytes);
  }

  flush(): void {
    this.#record({ kind: "flush" });
    this.#file.flush();
  }

  close(): void {
    this.#file.close();
  }

  #record(change: FileChange): void {
    this.beforeChange(change);
    this.changes.push(change);
  }
}

/** A file's bytes after some changes. */
export function replay(before: Buffer, changes: Iterable<FileChange>): Buffer {
  let bytes = Buffer.from(before);
  for (const change of changes) {
    if (change.kind === "zero") bytes.fill(0, change.offset, change.offset + change.lengthBytes);
    if (change.kind !== "write") continue;
    const end = change.offset + change.bytes.length;
    if (end > bytes.length) bytes = Buffer.concat([bytes, Buffer.alloc(end - bytes.length)]);
    bytes.set(change.bytes, change.offset);
  }
  return bytes;
}
