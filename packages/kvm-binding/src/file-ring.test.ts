import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { EventFd, FileRing, GuestMemory, KvmError } from "./index.js";

const folder = mkdtempSync(join(tmpdir(), "file-ring-"));
afterAll(() => rmSync(folder, { recursive: true }));

function hasRings(): boolean {
  try {
    FileRing.create(1).close();
    return true;
  } catch {
    return false;
  }
}

const PAGE = 4096;

function open(name: string, pages: number): { path: string; fd: number; bytes: Buffer } {
  const path = join(folder, name);
  const bytes = Buffer.alloc(pages * PAGE);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7 + (i >> 12)) & 0xff;
  writeFileSync(path, bytes);
  return { path, fd: openSync(path, "r+"), bytes };
}

/** Everything that comes back, by name. */
function drain(ring: FileRing): Map<number, number> {
  const results = new Map<number, number>();
  for (let count = ring.wait(); count > 0; count = ring.wait()) {
    for (let i = 0; i < count; i++) results.set(ring.doneNames[i]!, ring.doneResults[i]!);
  }
  return results;
}

describe.skipIf(!hasRings())("a file ring (where the kernel lets this process have io_uring)", () => {
  it.each([false, true])("reads many places at once into guest memory, by a thread of the kernel's: %s", (byThread) => {
    const { fd, bytes } = open("read", 64);
    using memory = GuestMemory.create({ sizeBytes: 2 ** 20 });
    using ring = FileRing.create(32);
    for (let batch = 0; batch < 10; batch++) {
      memory.bytes.fill(0);
      for (let i = 0; i < 32; i++) {
        const at = 2 * PAGE * i;
        const halves = [memory.bytes.subarray(at, at + 100), memory.bytes.subarray(at + 100, at + PAGE)];
        ring.add(false, ((i * 37 + batch) % 64) * PAGE, halves, 1000 + i, byThread);
      }
      ring.submit(fd);
      const results = drain(ring);
      for (let i = 0; i < 32; i++) {
        const from = ((i * 37 + batch) % 64) * PAGE;
        expect(results.get(1000 + i)).toBe(PAGE);
        const got = memory.bytes.subarray(2 * PAGE * i, 2 * PAGE * i + PAGE);
        expect(Buffer.compare(got, bytes.subarray(from, from + PAGE))).toBe(0);
      }
    }
    closeSync(fd);
  });

  it("writes, and says what was not done, or not all of it", () => {
    const { path, fd } = open("write", 2);
    using ring = FileRing.create(4);
    ring.add(true, PAGE, [new Uint8Array(PAGE).fill(1)], 1);
    ring.submit(fd);
    expect(drain(ring)).toEqual(new Map([[1, PAGE]]));
    expect(
      readFileSync(path)
        .subarray(PAGE)
        .every((byte) => byte === 1),
    ).toBe(true);
    ftruncateSync(fd, 100);
    ring.add(false, 0, [new Uint8Array(PAGE)], 2);
    ring.add(false, PAGE, [new Uint8Array(PAGE)], 3);
    ring.submit(fd);
    expect(drain(ring)).toEqual(
      new Map([
        [2, 100],
        [3, 0],
      ]),
    );
    closeSync(fd);
    const reader = openSync(path, "r");
    ring.add(true, 0, [new Uint8Array(PAGE)], 4);
    ring.submit(reader);
    expect(drain(ring)).toEqual(new Map([[4, -9]]));
    closeSync(reader);
    ring.add(true, 0, [new Uint8Array(PAGE)], 5);
    expect(() => ring.submit(reader)).toThrow(/EBADF/);
    using pipe = EventFd.create();
    ring.add(false, 0, [new Uint8Array(PAGE)], 6);
    expect(() => ring.submit(pipe.fd)).toThrow(/no file/);
    expect(ring.wait()).toBe(0);
  });

  it("keeps what the kernel still has until it is closed", () => {
    const { fd } = open("close", 64);
    for (let i = 0; i < 20; i++) {
      const ring = FileRing.create(32);
      for (let n = 0; n < 32; n++) ring.add(false, n * PAGE, [new Uint8Array(PAGE)], n, true);
      ring.submit(fd);
      ring.close();
    }
    closeSync(fd);
  });

  it("refuses what is no request", () => {
    using ring = FileRing.create(2);
    const bytes = [new Uint8Array(1)];
    for (const [offset, buffers, name] of [
      [-1, bytes, 0],
      [Number.NaN, bytes, 0],
      [2 ** 60, bytes, 0],
      [0, [], 0],
      [0, bytes, -1],
      [0, [1 as unknown as Uint8Array], 0],
      [0, new Array<Uint8Array>(1025).fill(bytes[0]!), 0],
    ] as const) {
      ring.add(false, offset, buffers, name);
      expect(() => ring.submit(0)).toThrow();
      expect(ring.wait()).toBe(0);
    }
    ring.add(false, 0, bytes, 0);
    ring.add(false, 0, bytes, 0);
    expect(() => ring.add(false, 0, bytes, 0)).toThrow(KvmError);
    expect(() => FileRing.create(3)).toThrow(/power of two/);
    expect(() => FileRing.create(512)).toThrow(/256/);
    ring.close();
    expect(() => ring.submit(0)).toThrow(/closed/i);
  });
});
