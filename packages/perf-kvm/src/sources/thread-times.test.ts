import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { ThreadTimesSource } from "./thread-times.js";

const proc = mkdtempSync(join(tmpdir(), "thread-times-"));
afterAll(() => rmSync(proc, { recursive: true, force: true }));

function write(tid: number, stat: string, schedstat: string): void {
  const folder = join(proc, "1", "task", String(tid));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "stat"), stat);
  writeFileSync(join(folder, "schedstat"), schedstat);
}

/** utime is field 14, guest_time field 43 (proc(5)); the name may be anything. */
const statOf = (utime: number, guest: number) =>
  `7 (a) b (c) R ${Array.from({ length: 10 }, () => 0).join(" ")} ${utime} ${Array.from({ length: 28 }, () => 9).join(" ")} ${guest} 0`;

describe("times of threads", () => {
  it("are what ticks and the scheduler have added since the last call", () => {
    write(7, statOf(100, 60), "5000000000 200 3\n");
    const source = new ThreadTimesSource(1, proc);
    source.follow([7, 8]);
    expect(source.size).toBe(1);
    write(7, statOf(130, 80), "6000000000 500 4\n");
    const times = source.collect()!;
    expect(times).toMatchObject({ runNs: 1e9, queuedNs: 300, guestNs: 2e8, userNs: 1e8 });
    expect(times.wallNs).toBeGreaterThan(0);
    rmSync(join(proc, "1"), { recursive: true });
    expect(source.collect()).toBeUndefined();
    expect(source.size).toBe(0);
  });

  it("are none of files that are not what they should be", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (stat, schedstat) => {
        write(9, stat, schedstat);
        const source = new ThreadTimesSource(1, proc);
        source.follow([9]);
        source.collect();
      }),
      { numRuns: 200 },
    );
  });

  it("of this very process's first thread are real", () => {
    const source = new ThreadTimesSource(process.pid);
    source.follow([process.pid]);
    let spun = 0;
    for (const until = Date.now() + 50; Date.now() < until; ) spun++;
    expect(spun).toBeGreaterThan(0);
    const times = source.collect()!;
    expect(times.wallNs).toBeGreaterThanOrEqual(49e6);
    expect(times.guestNs).toBe(0);
  });
});
