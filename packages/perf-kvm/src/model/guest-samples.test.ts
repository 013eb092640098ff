/** Samples of guests: which are theirs, whose functions they are, and how many a file may claim. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { PerfDataReader } from "../sources/perf-data/reader.js";
import { MISC, type WrittenSample, writeSamples } from "../sources/perf-data/testing.js";
import type { AddressResolver } from "../symbols/resolver.js";
import { type GuestSamples, GuestSampleTally } from "./guest-samples.js";

const folder = mkdtempSync(join(tmpdir(), "perf-kvm-samples-"));
afterAll(() => rmSync(folder, { recursive: true }));

function tallied(samples: readonly WrittenSample[], resolver: AddressResolver): GuestSamples | undefined {
  const path = join(folder, "samples.data");
  writeSamples(path, samples);
  const reader = PerfDataReader.open(path);
  try {
    const tally = new GuestSampleTally(reader);
    for (const batch of reader.fileBatches()) tally.consume(batch);
    return tally.report(() => resolver);
  } finally {
    reader.close();
  }
}

const KERNEL = 0xffff_ffff_8100_0000n;
const named: AddressResolver = {
  resolve: (address) =>
    address === Number(BigInt.asIntN(64, KERNEL)) + 0x40
      ? { name: "do_idle", offset: 0x40 }
      : address === Number(BigInt.asIntN(64, KERNEL)) + 0x44
        ? { name: "do_idle", offset: 0x44 }
        : { why: "outside of the kernel" },
};

it("are those that the kernel says are a guest's, by function", () => {
  const found = tallied(
    [
      { misc: MISC.guestKernel, ip: KERNEL + 0x40n },
      { misc: MISC.guestKernel, ip: KERNEL + 0x44n },
      { misc: MISC.guestKernel, ip: 0xffff_8000_0000_0000n },
      { misc: MISC.guestUser, ip: 0x40_1000n },
      { misc: MISC.hostKernel, ip: KERNEL + 0x40n },
      { misc: MISC.hostUser, ip: 0x40_1000n },
    ],
    named,
  );
  expect(found).toEqual({
    events: ["cpu-clock"],
    samples: 6,
    guestSamples: 4,
    rows: [
      { pid: 7, mode: "kernel", symbol: "do_idle", why: null, count: 2, share: 0.5 },
      { pid: 7, mode: "kernel", symbol: null, why: "outside of the kernel", count: 1, share: 0.25 },
      { pid: 7, mode: "user", symbol: null, why: "user space of the guest", count: 1, share: 0.25 },
    ],
  });
});

it("of two machines are told apart", () => {
  const found = tallied(
    [1, 2, 2].map((pid) => ({ misc: MISC.guestUser, ip: 1n, pid })),
    named,
  );
  expect(found!.rows.map(({ pid, count }) => [pid, count])).toEqual([
    [2, 2],
    [1, 1],
  ]);
});

it("of more machines than there can be are counted, but not kept apart", () => {
  const found = tallied(
    Array.from({ length: 1500 }, (_, pid) => ({ misc: MISC.guestKernel, ip: 1n, pid })),
    named,
  );
  expect(found!.guestSamples).toBe(1500);
  expect(found!.rows.reduce((sum, { count }) => sum + count, 0)).toBe(1500);
  expect(found!.rows.length).toBeLessThan(1100);
});
