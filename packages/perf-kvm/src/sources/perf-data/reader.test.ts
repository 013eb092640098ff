/** Recordings of perf itself, read and compared with what perf says of them, event by event. */
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { RecordingTally } from "../../model/recording.js";
import { PerfDataError } from "./error.js";
import { FEATURE, HEADER_OFFSET, USER_RECORD } from "./format.js";
import { PerfDataReader } from "./reader.js";
import {
  canRecord,
  type Happening,
  hasPerf,
  NEEDS_PERF,
  NEEDS_RECORD,
  perf,
  ROUND,
  scriptOf,
  write,
} from "./testing.js";

const folder = mkdtempSync(join(tmpdir(), "perf-data-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string): string => join(folder, name);

const PREFIX = ["script", "--ns", "-F", "comm,tid,cpu,time,event", "-i"];

/** Each of our lines has to begin as perf's does. */
function compareWithPerf(path: string): number {
  const theirs = perf(...PREFIX, path)!
    .split("\n")
    .filter((line) => line !== "");
  const ours = scriptOf(path)
    .split("\n")
    .filter((line) => line !== "");
  expect(ours.map((line, index) => line.slice(0, theirs[index]?.trimEnd().length))).toEqual(
    theirs.map((line) => line.trimEnd()),
  );
  return ours.length;
}

describe.skipIf(!canRecord)(`a recording of perf${NEEDS_RECORD}`, () => {
  const load = ["-a", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 0.01; /bin/true; done"];

  it.each([
    ["of one tracepoint", ["-e", "sched:sched_switch"]],
    ["of several", ["-e", "sched:sched_switch", "-e", "sched:sched_process_exec", "-e", "sched:sched_wakeup"]],
    ["compressed", ["-z", "-e", "sched:sched_switch"]],
    ["with callchains", ["-g", "-e", "sched:sched_switch"]],
    ["of a clock", ["-e", "cpu-clock", "-F", "1000"]],
    ["of events of different shapes", ["-e", "cpu-clock", "-e", "sched:sched_switch"]],
  ])("%s has the same events in the same order", (name, events) => {
    const path = file(`${name}.data`);
    expect(perf("record", "-q", "-o", path, ...events, ...load)).toBeDefined();
    if (name === "of a clock") {
      // perf has a period in front of the event here: fields differ, order and number do not.
      expect(scriptOf(path).split("\n").length).toBe(perf("script", "-F", "time", "-i", path)!.split("\n").length);
    } else expect(compareWithPerf(path)).toBeGreaterThan(8);
  });

  it("that comes through a pipe is the same", () => {
    const path = file("pipe.data");
    const fd = openSync(path, "w");
    const args = ["record", "-q", "-o", "-", "-e", "sched:sched_switch", "-e", "sched:sched_wakeup", ...load];
    expect(spawnSync("perf", args, { stdio: ["ignore", fd, "ignore"] }).status).toBe(0);
    closeSync(fd);
    expect(compareWithPerf(path)).toBeGreaterThan(8);
  });

  it("tells where it was made", () => {
    const path = file("told.data");
    perf("record", "-q", "-o", path, "-e", "sched:sched_switch", ...load);
    const { features, events, isPipe, isUnclosed } = PerfDataReader.open(path);
    expect(features.osRelease).toBe(readFileSync("/proc/sys/kernel/osrelease", "latin1").trim());
    expect(features.commandLine).toContain("sched:sched_switch");
    expect(features.arch).toBe("x86_64");
    expect(events.list.map(({ name }) => name)).toContain("sched:sched_switch");
    expect([isPipe, isUnclosed]).toEqual([false, false]);
  });

  it("is read or refused with a place, whatever was done to it, compressed or not", () => {
    for (const options of [["-z"], []]) {
      const path = file("mutated.data");
      perf("record", "-q", ...options, "-o", path, "-e", "sched:sched_switch", ...load);
      const original = readFileSync(path);
      for (let seed = 0; seed < 150; seed++) mutate(original, seed, path);
    }
  });
});

/** Deterministic; where a change hurts most it comes most often. */
function mutate(original: Buffer, seed: number, path: string): void {
  let state = seed * 2_654_435_761 + 1;
  const random = (limit: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const bytes = Buffer.from(original);
  for (let count = 1 + random(8); count > 0; count--) {
    const at = random(3) === 0 ? random(Math.min(bytes.length, 1024)) : random(bytes.length);
    bytes[at] = [0, 1, 0x7f, 0x80, 0xff, random(256)][random(6)]!;
  }
  writeFileSync(path, random(4) === 0 ? bytes.subarray(0, random(bytes.length)) : bytes);
  readAll(path);
}

/** Reads everything there is; a PerfDataError is the only way to fail. */
function readAll(path: string): void {
  for (const work of [() => scriptOf(path), () => report(path)]) {
    try {
      work();
    } catch (error) {
      if (!(error instanceof PerfDataError)) throw error;
      expect(error.offset).toBeGreaterThanOrEqual(0);
      expect(error.message).toMatch(/^perf\.data, byte \d+: [^\n]+$/);
    }
  }
}

function report(path: string) {
  const reader = PerfDataReader.open(path);
  try {
    const tally = new RecordingTally(reader);
    tally.run();
    return tally.report("detail");
  } finally {
    reader.close();
  }
}

const small: readonly (Happening | typeof ROUND)[] = [
  { event: "kvm_entry", ns: 1000, tid: 1000 },
  { event: "kvm_exit", ns: 2000, tid: 1000, values: { exit_reason: 0x7b, isa: 2, info1: 0x3f8_0000 } },
  ROUND,
  { event: "kvm_entry", ns: 3000, tid: 1000 },
];

describe("a recording", () => {
  it("that ends anywhere is refused with the place, and so is one that has been changed", () => {
    const path = file("cut.data");
    write(path, small);
    const whole = readFileSync(path);
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(path, whole.subarray(0, length));
      expect(() => scriptOf(path), `cut at ${length}`).toThrow(PerfDataError);
    }
    for (let seed = 0; seed < 800; seed++) mutate(whole, seed, path);
  });

  it.each([
    ["that is none", (bytes: Buffer) => bytes.write("ELF"), /it is no perf\.data/],
    ["of a big-endian machine", (bytes: Buffer) => bytes.write("2ELIFREP"), /big-endian/],
    ["of version 1", (bytes: Buffer) => bytes.write("PERFFILE"), /version 1/],
    [
      "with a header of another size",
      (bytes: Buffer) => bytes.writeUInt32LE(96, HEADER_OFFSET.SIZE),
      /header of 96 bytes/,
    ],
    [
      "with attributes of 2^60 bytes",
      (bytes: Buffer) => bytes.writeUInt32LE(2 ** 28, HEADER_OFFSET.ATTRS + 12),
      /too large/,
    ],
    [
      "with records behind its end",
      (bytes: Buffer) => bytes.writeUInt32LE(2 ** 30, HEADER_OFFSET.DATA + 8),
      /file ends/,
    ],
    [
      "with a table of events of 1 TB",
      (bytes: Buffer) => bytes.writeUInt8(1, HEADER_OFFSET.ATTRS + 8 + 5),
      /events; at most/,
    ],
  ])("%s is refused, in so many words", (name, change, words) => {
    const path = file(`${name}.data`);
    write(path, small);
    const bytes = readFileSync(path);
    change(bytes);
    writeFileSync(path, bytes);
    expect(() => scriptOf(path)).toThrow(words);
    expect(() => scriptOf(path)).toThrow(PerfDataError);
  });

  it("whose writer was killed is read as far as it goes", () => {
    const path = file("killed.data");
    write(path, small);
    const bytes = readFileSync(path);
    const dataEnd =
      Number(bytes.readBigUInt64LE(HEADER_OFFSET.DATA)) + Number(bytes.readBigUInt64LE(HEADER_OFFSET.DATA + 8));
    bytes.writeBigUInt64LE(0n, HEADER_OFFSET.DATA + 8);
    writeFileSync(path, bytes.subarray(0, dataEnd - 5));
    const lines = scriptOf(path).trim().split("\n");
    expect(lines).toHaveLength(2);
    expect(report(path).notes[0]).toContain("not closed by its writer");
  });

  it("names its records that belong to nothing: a record of no size, a record before any event", () => {
    const stream = Buffer.alloc(24);
    stream.write("PERFILE2");
    stream.writeUInt32LE(16, 8);
    const path = file("stream.data");
    writeFileSync(path, stream);
    expect(() => scriptOf(path)).toThrow("perf.data, byte 16: a record of 0 bytes");
    stream.writeUInt32LE(9, 16);
    stream.writeUInt16LE(8, 22);
    writeFileSync(path, stream);
    expect(() => scriptOf(path)).toThrow("byte 16: a record comes before any event");
    stream.writeUInt32LE(USER_RECORD.COMPRESSED2, 16);
    writeFileSync(path, stream);
    expect(() => scriptOf(path)).toThrow("compressed records of the second kind");
  });

  it("does not make the decoder take gigabytes for a window", () => {
    const record = Buffer.alloc(16 + 8 + 24);
    record.write("PERFILE2");
    record.writeUInt32LE(16, 8);
    record.writeUInt32LE(USER_RECORD.COMPRESSED, 16);
    record.writeUInt16LE(32, 22);
    // RFC 8878: magic, no flags, a window of 2^41 bytes.
    record.set([0x28, 0xb5, 0x2f, 0xfd, 0, 0xf8], 24);
    const path = file("bomb.data");
    writeFileSync(path, record);
    expect(() => scriptOf(path)).toThrow(
      /byte 16: the compressed data cannot be read: a window of 2199023255552 bytes/,
    );
  });

  it("has no feature that is as large as the address space", () => {
    const path = file("feature.data");
    write(path, small);
    const bytes = readFileSync(path);
    const table =
      Number(bytes.readBigUInt64LE(HEADER_OFFSET.DATA)) + Number(bytes.readBigUInt64LE(HEADER_OFFSET.DATA + 8));
    bytes.writeBigUInt64LE(2n ** 40n, table + 8);
    writeFileSync(path, bytes);
    expect(FEATURE.TRACING_DATA).toBe(1);
    expect(() => scriptOf(path)).toThrow(/a feature of 1099511627776 bytes; at most/);
  });

  it("comes out in the order of its times, by rounds, whatever the window", () => {
    const event = fc.record({ ns: fc.integer({ min: 1, max: 1000 }), cpu: fc.nat(3) });
    fc.assert(
      fc.property(fc.array(fc.array(event, { maxLength: 40 }), { maxLength: 5 }), (rounds) => {
        // Each round is later than the one before; within it, a CPU's ring comes after the other.
        const happenings = rounds.flatMap((round, index) => [
          ...[0, 1, 2, 3].flatMap((cpu) =>
            round
              .filter((each) => each.cpu === cpu)
              .sort((a, b) => a.ns - b.ns)
              .map(({ ns }): Happening => ({ event: "kvm_entry", ns: index * 1000 + ns, cpu, tid: 1000 + cpu })),
          ),
          ROUND as typeof ROUND,
        ]);
        const path = file("rounds.data");
        write(path, happenings);
        const lines = scriptOf(path)
          .split("\n")
          .filter((line) => line !== "");
        const times = lines.map((line) => Number(/(\d+)\.(\d{9}):/.exec(line)![2]));
        expect(times).toEqual(
          rounds.flatMap((round, index) => round.map(({ ns }) => index * 1000 + ns)).sort((a, b) => a - b),
        );
      }),
      { numRuns: 60 },
    );
  });

  it("of many megabytes without rounds is read in a window of less, and late records are counted", () => {
    const path = file("large.data");
    const happenings: Happening[] = Array.from({ length: 12_000 }, (_, index) => ({
      event: "kvm_entry",
      ns: 1_000_000 + (index % 6000) * 10 + (index >= 6000 ? 5 : 0),
      tid: 1000,
    }));
    write(path, happenings);
    expect(statSync(path).size).toBeGreaterThan(2 ** 20);
    const reader = PerfDataReader.open(path, { windowBytes: 2 ** 19 });
    let count = 0;
    for (const { length, timesNs } of reader.batches()) {
      for (let i = 1; i < length; i++) expect(timesNs[i]!).toBeGreaterThanOrEqual(timesNs[i - 1]!);
      count += length;
    }
    expect(count).toBe(12_001);
    expect(reader.late).toBeGreaterThan(0);
    expect(scriptOf(path).split("\n")).toHaveLength(12_001);
  });
});

describe.skipIf(!hasPerf)(`a recording that is written here${NEEDS_PERF}`, () => {
  it("is read by perf script, event by event", () => {
    const path = file("written.data");
    write(path, small);
    expect(compareWithPerf(path)).toBe(3);
  });

  it("gives the table of perf kvm stat report, count by count and time by time", () => {
    const path = file("table.data");
    const happenings: (Happening | typeof ROUND)[] = [];
    const reasons = [0x7b, 0x7b, 0x7c, 0x78, 0x72];
    for (let i = 0; i < 500; i++) {
      const tid = 1000 + (i % 3);
      const ns = 1_000_000 + i * 5000;
      const values = { exit_reason: reasons[(i * 7) % 5]!, isa: 2, info1: (i % 4) * 2 ** 16 };
      happenings.push({ event: "kvm_exit", ns, tid, cpu: i % 4, values });
      happenings.push({ event: "kvm_entry", ns: ns + 1000 + ((i * 37) % 900), tid, cpu: i % 4 });
      if (i % 50 === 49) happenings.push(ROUND);
    }
    write(path, happenings);
    const ours = PerfDataReader.open(path);
    const tally = new RecordingTally(ours);
    tally.run();
    const rows = tally.report("reason").rows.map(({ reason, count, minNs, maxNs, avgNs }) => {
      const us = (ns: number | null): string => `${(ns! / 1000).toFixed(2)}us`;
      return `${reason} ${count} ${us(minNs)} ${us(maxNs)} ${us(avgNs)}`;
    });
    const names: Record<string, string> = { io: "IOIO", msr: "MSR", hlt: "HLT", cpuid: "CPUID" };
    // perf prints this table on standard error.
    const table = spawnSync("perf", ["kvm", "--host", "-i", path, "stat", "report"], { encoding: "latin1" }).stderr;
    const theirs = [...table.matchAll(/^ +(\w+) +(\d+) +[\d.]+% +[\d.]+% +(\S+) +(\S+) +(\S+) \(/gm)].map(
      ([, name, count, min, max, avg]) => `${names[name!]} ${count} ${min} ${max} ${avg}`,
    );
    expect(theirs).toHaveLength(4);
    expect(rows.sort()).toEqual(theirs.sort());
  });
});
