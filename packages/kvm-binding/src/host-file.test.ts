import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { GuestMemory, isLockedByOthers, KvmError, pageMisalignment, punchHole, tryLock, zeroRange } from "./index.js";

const folder = mkdtempSync(join(tmpdir(), "host-file-"));
const path = join(folder, "file");
const opened: number[] = [];
const open = (): number => {
  const fd = openSync(path, "r+");
  opened.push(fd);
  return fd;
};
afterEach(() => {
  for (const fd of opened.splice(0)) closeSync(fd);
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("fallocate", () => {
  it("punches a hole, which reads as zeros and takes no space", () => {
    writeFileSync(path, Buffer.alloc(0x10000, 7));
    punchHole(open(), 0x1000, 0x8000);
    const expected = Buffer.alloc(0x10000, 7).fill(0, 0x1000, 0x9000);
    expect(readFileSync(path).equals(expected)).toBe(true);
    expect(statSync(path).blocks * 512).toBeLessThanOrEqual(0x8000);
  });

  it("zeroes a range of any bytes and keeps its space", () => {
    writeFileSync(path, Buffer.alloc(0x10000, 7));
    const fd = open();
    const before = statSync(path).blocks;
    try {
      zeroRange(fd, 3, 0x8001);
    } catch (error) {
      expect((error as KvmError).errnoName).toBe("EOPNOTSUPP"); // tmpfs
      return;
    }
    expect(readFileSync(path).equals(Buffer.alloc(0x10000, 7).fill(0, 3, 0x8004))).toBe(true);
    expect(statSync(path).blocks).toBeGreaterThanOrEqual(before);
  });

  it("refuses a range that leaves the file, is empty, or begins before it; the file stays as long as it was", () => {
    writeFileSync(path, Buffer.alloc(100, 7));
    const fd = open();
    for (const [offset, length] of [
      [50, 51],
      [0, 0],
      [-1, 10],
      [2 ** 53 - 1, 2 ** 53 - 1],
    ] as const) {
      expect(() => punchHole(fd, offset, length)).toThrow(KvmError);
      expect(() => zeroRange(fd, offset, length)).toThrow(KvmError);
    }
    expect(readFileSync(path)).toHaveLength(100);
    expect(() => punchHole(599, 0, 1)).toThrow(/EBADF/);
  });
});

describe("locks", () => {
  it("keep out another open of the same file in the same process, byte by byte, until they are closed", () => {
    writeFileSync(path, "");
    const [first, second] = [open(), open()];
    expect(tryLock(first, { exclusive: false, offsetBytes: 100, lengthBytes: 2 })).toBe(true);
    expect(tryLock(second, { exclusive: false, offsetBytes: 101, lengthBytes: 1 })).toBe(true);
    expect(tryLock(second, { exclusive: true, offsetBytes: 100, lengthBytes: 1 })).toBe(false);
    expect(tryLock(second, { exclusive: true, offsetBytes: 102, lengthBytes: 1 })).toBe(true);
    expect(isLockedByOthers(first, 101, 1)).toBe(true);
    expect(isLockedByOthers(first, 100, 1)).toBe(false);
    closeSync(opened.pop()!);
    expect(isLockedByOthers(first, 0, 1000)).toBe(false);
  });
});

it("pageMisalignment tells how far bytes lie past a page", () => {
  using memory = GuestMemory.create({ sizeBytes: 0x2000 });
  expect(pageMisalignment(memory.bytes)).toBe(0);
  expect(pageMisalignment(memory.bytes.subarray(0x1007))).toBe(7);
});
