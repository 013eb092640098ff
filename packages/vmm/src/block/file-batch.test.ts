/** Many requests at once: the same bytes and the same failures as one by one. */
import { ftruncateSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { GuestMemory } from "@tools-kvm/kvm-binding";
import { describe, expect, it } from "vitest";
import { openDisk } from "./open-disk.js";
import { expectSame, pattern, scratchFolder } from "./testing.js";

const scratch = scratchFolder();
const PAGE = 4096;
const PAGES = 256;

describe.each(["writeback", "direct"] as const)("a batch with cache=%s", (cache) => {
  it("reads and writes what it takes, and says what it does not", () => {
    const path = scratch(`${cache}.raw`);
    const model = pattern(PAGES * PAGE, 7);
    writeFileSync(path, model);
    using memory = GuestMemory.create({ sizeBytes: 2 * PAGES * PAGE });
    const disk = openDisk(path, { cache });
    const batch = disk.batch!;
    for (let round = 0; round < 20; round++) {
      const done = new Map<number, boolean>();
      const taken: { name: number; isWrite: boolean; offset: number; bytes: Uint8Array }[] = [];
      for (let name = 0; name < 64; name++) {
        const isWrite = name % 4 === 3;
        // Odd pages are read and even ones written, so that no two of a batch meet.
        const offset = (((name * 5 + round) % (PAGES / 2)) * 2 + (isWrite ? 0 : 1)) * PAGE;
        const at = 2 * name * PAGE + (name % 8 === 0 ? 512 : 0);
        const bytes = memory.bytes.subarray(at, at + PAGE);
        if (isWrite) bytes.set(pattern(PAGE, round * 64 + name));
        else bytes.fill(0);
        if (batch.add(isWrite, offset, [bytes.subarray(0, PAGE / 2), bytes.subarray(PAGE / 2)], name)) {
          taken.push({ name, isWrite, offset, bytes });
        } else if (batch.add(isWrite, offset, [bytes], name)) taken.push({ name, isWrite, offset, bytes });
      }
      batch.run((name, isDone) => done.set(name, isDone));
      expect([...done.keys()].sort((a, b) => a - b)).toEqual(taken.map(({ name }) => name));
      for (const { name, isWrite, offset, bytes } of taken) {
        if (done.get(name) !== true) isWrite ? disk.writev(offset, [bytes]) : disk.readv(offset, [bytes]);
        if (isWrite) model.set(bytes, offset);
      }
      for (const { isWrite, offset, bytes, name } of taken) {
        if (!isWrite) expectSame(bytes, model.subarray(offset, offset + PAGE), `read ${name}`);
      }
    }
    disk.flush();
    expectSame(readFileSync(path), model, "the file");
    disk.close();
  });

  it("leaves what has not all been read to those who say why", () => {
    const path = scratch(`${cache}-short.raw`);
    writeFileSync(path, pattern(64 * PAGE, 1));
    using memory = GuestMemory.create({ sizeBytes: 64 * PAGE });
    const disk = openDisk(path, { cache });
    ftruncateSync(openSync(path, "r+"), 10 * PAGE);
    for (let name = 0; name < 64; name++) {
      expect(disk.batch!.add(false, name * PAGE, [memory.bytes.subarray(name * PAGE, (name + 1) * PAGE)], name)).toBe(
        true,
      );
    }
    const failed: number[] = [];
    disk.batch!.run((name, isDone) => isDone || failed.push(name));
    expect(failed.filter((name) => name >= 10)).toHaveLength(54);
    expect(() => disk.readv(10 * PAGE, [memory.bytes.subarray(0, PAGE)])).toThrow(/truncated/);
    disk.close();
  });
});

it("a batch takes nothing beyond the end, and no write that has to be looked at or may not be", () => {
  const path = scratch("guarded");
  writeFileSync(path, pattern(64 * PAGE, 1));
  using memory = GuestMemory.create({ sizeBytes: 2 * PAGE });
  const page = [memory.bytes.subarray(0, PAGE)];
  const probed = openDisk(path, { cache: "direct" });
  expect(probed.batch!.add(true, 0, page, 0)).toBe(false);
  expect(probed.batch!.add(true, PAGE, page, 0)).toBe(true);
  expect(probed.batch!.add(false, 64 * PAGE, page, 1)).toBe(false);
  expect(probed.batch!.add(false, 0, [], 1)).toBe(false);
  expect(probed.batch!.add(false, 512, page, 1)).toBe(false);
  probed.close();
  const reader = openDisk(path, { cache: "direct", readonly: true });
  expect(reader.batch!.add(true, PAGE, page, 0)).toBe(false);
  reader.close();
});
