/** Each format of `perf-kvm export`, read by those it is for, and its figures against those of the report. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { Ajv } from "ajv";
import fc from "fast-check";
import { Profile } from "pprof-format";
import { afterAll, describe, expect, it } from "vitest";
import { RecordingTally } from "../model/recording.js";
import type { ExitRow, Report } from "../model/report.js";
import { timeSplit } from "../model/time-split.js";
import { PerfDataReader } from "../sources/perf-data/reader.js";
import { MISC, twoVcpus, write, writeSamples } from "../sources/perf-data/testing.js";
import type { Value } from "./format.js";
import { EXPORT_FORMATS } from "./formats.js";
import { METRICS_FORMATS, metrics } from "./metrics.js";
import { profile } from "./pprof.js";
import { NEEDS_PROMETHEUS, Prometheus, prometheusProgram, speedscopeImporter, speedscopeSchema } from "./testing.js";

const folder = mkdtempSync(join(tmpdir(), "perf-kvm-export-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Two vCPUs, 300 exits each lasting 9.5 us to the next entry of the same thread. */
const hardware = join(folder, "hardware.data");
write(hardware, twoVcpus(300));

/** Of a host whose kvm_exit never fires: a port written, a port read, a shutdown. */
const userspace = join(folder, "userspace.data");
write(userspace, [
  { event: "kvm_pio", ns: 1e9, tid: 7, values: { rw: 1, port: 0x3f8, size: 1, count: 1, val: 0 } },
  { event: "kvm_userspace_exit", ns: 1e9 + 100, tid: 7, values: { reason: 2, errno: 0 } },
  { event: "kvm_userspace_exit", ns: 1e9 + 200, tid: 7, values: { reason: 2, errno: 0 } },
  { event: "kvm_pio", ns: 1e9 + 300, tid: 7, values: { rw: 0, port: 0x71, size: 1, count: 1, val: 0 } },
  { event: "kvm_userspace_exit", ns: 1e9 + 400, tid: 7, values: { reason: 8, errno: 0 } },
]);

function exported(path: string, name: string, value: Value = "time"): Buffer {
  const parts: Uint8Array[] = [];
  const reader = PerfDataReader.open(path);
  try {
    EXPORT_FORMATS[name]!.write(reader, (bytes) => parts.push(bytes), {
      value,
      symbolsOf: () => ({ resolve: () => ({ name: "do_idle", offset: 4 }) }),
    });
  } finally {
    reader.close();
  }
  return Buffer.concat(parts);
}

function reported(path: string): Report {
  const reader = PerfDataReader.open(path);
  try {
    const tally = new RecordingTally(reader);
    tally.run();
    return tally.report("vcpu");
  } finally {
    reader.close();
  }
}

const rows = reported(hardware).rows;
const total = (of: (row: ExitRow) => number): number => rows.reduce((sum, row) => sum + of(row), 0);
const exits = total(({ count }) => count);
const awayNs = total(({ count, avgNs }) => count * avgNs!);

describe("csv", () => {
  const lines = (path: string): string[][] =>
    exported(path, "csv")
      .toString()
      .trimEnd()
      .split("\r\n")
      .map((line) => line.split(","));

  it("has a line an exit, with absolute times", () => {
    const [header, ...body] = lines(hardware);
    expect(header).toEqual(["timeNs", "durationNs", "machine", "pid", "tid", "vcpu", "reason", "detail"]);
    expect(body).toHaveLength(exits);
    expect(body.reduce((sum, line) => sum + Number(line[1]), 0)).toBeCloseTo(awayNs, 3);
    expect(body[0]).toEqual(["1000000500", "19500", "vmm", "1000", "1000", "0", "CPUID", ""]);
    expect(body[1]).toEqual(["1000010500", "19500", "vmm", "1000", "1001", "1", "IOIO", "0x3f8 out"]);
  });

  it("has the moments of exits to user space, a port read with the port that is traced after it", () => {
    expect(
      lines(userspace)
        .slice(1)
        .map((line) => [line[0], line[1], ...line.slice(5)]),
    ).toEqual([
      ["1000000100", "", "", "IO", "0x3f8 out"],
      ["1000000200", "", "", "IO", "0x71 in"],
      ["1000000400", "", "", "SHUTDOWN", ""],
    ]);
  });
});

describe("json", () => {
  it("is one object, an exit a line", () => {
    const text = exported(hardware, "json").toString();
    const { exits: list, threads, timeBaseNs, lost } = JSON.parse(text);
    expect(list).toHaveLength(exits);
    expect(list[1]).toEqual({ startNs: 10_500, durationNs: 19_500, tid: 1001, reason: "IOIO", detail: "0x3f8 out" });
    expect({ timeBaseNs, lost }).toEqual({ timeBaseNs: "1000000000", lost: 0 });
    expect(threads).toEqual([
      { tid: 1000, pid: 1000, vcpu: 0, machine: "vmm" },
      { tid: 1001, pid: 1000, vcpu: 1, machine: "vmm" },
    ]);
    expect(text.trimEnd().split("\n")).toHaveLength(1 + exits + 1);
    expect(JSON.parse(exported(userspace, "json").toString()).exits[0].durationNs).toBeNull();
  });
});

describe("folded", () => {
  const sums = (value: Value, path = hardware): [string, number][] =>
    exported(path, "folded", value)
      .toString()
      .trimEnd()
      .split("\n")
      .map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ")))]);

  it("adds up to the report, in nanoseconds or exits", () => {
    expect(sums("time").reduce((sum, [, ns]) => sum + ns, 0)).toBeCloseTo(awayNs, 3);
    expect(sums("count").reduce((sum, [, count]) => sum + count, 0)).toBe(exits);
    expect(sums("count").map(([stack]) => stack)).toContain("vmm (pid 1000);vCPU 1;IOIO;0x3f8 out");
  });

  it("says that there are no times, where there are none", () => {
    expect(() => sums("time", userspace)).toThrow("--value count");
    expect(sums("count", userspace)).toHaveLength(3);
  });
});

describe("pprof", () => {
  it("decodes to the report's figures", () => {
    const {
      sample,
      location,
      function: functions,
      stringTable,
      sampleType,
    } = Profile.decode(gunzipSync(exported(hardware, "pprof")));
    const text = (index: number | bigint): string => stringTable.strings[Number(index)]!;
    expect(sampleType.map(({ type, unit }) => [text(type), text(unit)])).toEqual([
      ["exits", "count"],
      ["away", "nanoseconds"],
    ]);
    expect(sample.reduce((sum, { value }) => sum + Number(value[0]), 0)).toBe(exits);
    expect(sample.reduce((sum, { value }) => sum + Number(value[1]), 0)).toBeCloseTo(awayNs, 3);
    const name = (id: number | bigint): string => {
      const { line } = location.find((each) => each.id === id)!;
      return text(functions.find((each) => each.id === line[0]!.functionId)!.name);
    };
    expect(sample.map(({ locationId }) => locationId.map(name))).toContainEqual([
      ...["0x3f8 out", "IOIO", "vCPU 1", "vmm (pid 1000)"],
    ]);
  });

  it("holds any names and counts", () => {
    const stack = fc.record({
      frames: fc.array(fc.string({ unit: "grapheme" }), { minLength: 1, maxLength: 5 }),
      count: fc.nat(),
      awayNs: fc.option(fc.maxSafeNat()),
    });
    fc.assert(
      fc.property(fc.array(stack, { maxLength: 20 }), (stacks) => {
        const { sample, location, function: functions, stringTable } = Profile.decode(profile(stacks, 5e9, "exits"));
        const read = sample.map(({ locationId, value }) => ({
          frames: [...locationId].reverse().map((id) => {
            const line = location.find((each) => each.id === id)!.line[0]!;
            return stringTable.strings[Number(functions.find((each) => each.id === line.functionId)!.name)];
          }),
          values: value.map(Number),
        }));
        expect(read).toEqual(stacks.map(({ frames, count, awayNs }) => ({ frames, values: [count, awayNs ?? 0] })));
      }),
    );
  });
});

describe("speedscope", () => {
  const importProfile = speedscopeImporter();
  const validate = new Ajv({ strict: false }).compile(speedscopeSchema());

  it.each([hardware, userspace])("follows the schema, and is read by the importer: %s", async (path) => {
    const text = exported(path, "speedscope").toString();
    validate(JSON.parse(text));
    expect(validate.errors).toBeNull();
    expect((await importProfile("exits.json", text))?.profiles.length).toBeGreaterThan(0);
  });

  it("shows each vCPU's time away by reason, to the nanosecond", async () => {
    const group = await importProfile("exits.json", exported(hardware, "speedscope").toString());
    expect(group!.profiles.map((profile) => profile.getName())).toEqual(["vmm vCPU 0", "vmm vCPU 1"]);
    group!.profiles.forEach((profile, vcpu) => {
      const own = rows.filter((row) => row.vcpu === vcpu);
      const frames = new Map<string, number>();
      profile.forEachFrame((frame) => frames.set(frame.name, frame.getSelfWeight()));
      for (const { reason, detail, count, avgNs } of own) {
        expect(frames.get(`${reason} ${detail}`.trim())).toBeCloseTo(count * avgNs!, 3);
      }
    });
  });

  it("says so where a file is not for it", async () => {
    expect(await importProfile("exits.json", '{"nothing": 1}').catch(() => null)).toBeNull();
  });
});

describe("firefox", () => {
  // The profiler has no package that validates: this is what the types of its version 48 ask for, as far as we use them.
  const column = (type: string | readonly string[]) => ({ type: "array", items: { type } });
  const table = (columns: Record<string, object>) => ({
    type: "object",
    required: ["length", ...Object.keys(columns)],
    properties: { length: { type: "integer" }, ...columns },
  });
  const THREAD = {
    type: "object",
    required: [
      ...["processType", "processStartupTime", "processShutdownTime", "registerTime", "unregisterTime", "pausedRanges"],
      ...["name", "isMainThread", "pid", "tid", "samples", "markers", "stackTable", "frameTable", "stringArray"],
      ...["funcTable", "resourceTable", "nativeSymbols"],
    ],
    properties: {
      name: { type: "string" },
      isMainThread: { type: "boolean" },
      pid: { type: "string" },
      tid: { type: "integer" },
      stringArray: column("string"),
      samples: table({ stack: column(["integer", "null"]), time: column("number") }),
      markers: table({
        category: column("integer"),
        data: { type: "array", items: { type: ["object", "null"], required: ["type"] } },
        name: column("integer"),
        phase: { type: "array", items: { enum: [0, 1, 2, 3] } },
        startTime: column(["number", "null"]),
        endTime: column(["number", "null"]),
      }),
      stackTable: table({ frame: column("integer"), prefix: column(["integer", "null"]), category: column("integer") }),
      frameTable: table({ address: column("integer"), func: column("integer"), inlineDepth: column("integer") }),
      funcTable: table({ name: column("integer"), resource: column("integer"), isJS: column("boolean") }),
      resourceTable: table({ name: column("integer"), lib: column("integer"), type: column("integer") }),
      nativeSymbols: table({ libIndex: column("integer"), address: column("integer"), name: column("integer") }),
    },
  };
  const SCHEMA = {
    type: "object",
    required: ["meta", "libs", "threads"],
    properties: {
      meta: {
        type: "object",
        required: ["interval", "startTime", "processType", "product", "stackwalk", "version", "markerSchema"],
        properties: {
          preprocessedProfileVersion: { const: 48 },
          categories: { type: "array", items: { required: ["name", "color", "subcategories"] } },
          markerSchema: { type: "array", items: { required: ["name", "display", "data"] } },
        },
      },
      libs: { type: "array" },
      threads: { type: "array", items: THREAD },
    },
  };
  const validate = new Ajv({ allowUnionTypes: true, strictTypes: false }).compile(SCHEMA);

  it.each([hardware, userspace])(
    "has the shape of version 48, and tables whose columns are as long as they say: %s",
    (path) => {
      const profile = JSON.parse(exported(path, "firefox").toString());
      validate(profile);
      expect(validate.errors).toBeNull();
      for (const thread of profile.threads) {
        for (const each of Object.values(thread)) {
          if (typeof each !== "object" || each === null || !("length" in each) || Array.isArray(each)) continue;
          for (const column of Object.values(each))
            if (Array.isArray(column)) expect(column).toHaveLength(each.length as number);
        }
        for (const index of thread.markers.name) expect(thread.stringArray[index]).toBeTypeOf("string");
      }
    },
  );

  it("has a marker an exit on the track of its vCPU", () => {
    const { threads, meta } = JSON.parse(exported(hardware, "firefox").toString());
    expect(threads.map(({ name, processName }: Record<string, string>) => [processName, name])).toEqual([
      ["vmm", "vCPU 0"],
      ["vmm", "vCPU 1"],
    ]);
    const [{ markers, stringArray }] = threads;
    expect(markers.length + threads[1].markers.length).toBe(exits);
    expect(stringArray[markers.name[0]]).toBe("CPUID");
    expect([markers.startTime[0], markers.endTime[0], markers.phase[0]]).toEqual([0.0005, 0.02, 1]);
    expect(markers.data.map(({ type }: { type: string }) => type)).toContain(meta.markerSchema[0].name);
    expect(JSON.parse(exported(userspace, "firefox").toString()).threads[0].markers.phase).toEqual([0, 0, 0]);
  });

  it("has the samples of a guest by function, in the guest's kernel, its user space or the host", () => {
    const path = join(folder, "samples.data");
    const misc = [MISC.guestKernel, MISC.guestUser, MISC.hostKernel, MISC.guestKernel];
    writeSamples(
      path,
      misc.map((misc) => ({ misc, ip: 0xffff_ffff_8100_0000n })),
    );
    const profile = JSON.parse(exported(path, "firefox").toString());
    validate(profile);
    expect(validate.errors).toBeNull();
    const [{ samples, stackTable, frameTable, funcTable, stringArray }] = profile.threads;
    const names = (stack: number | null): string[] =>
      stack === null
        ? []
        : [...names(stackTable.prefix[stack]), stringArray[funcTable.name[frameTable.func[stackTable.frame[stack]]]]];
    expect(samples.stack.map(names)).toEqual([
      ["guest kernel", "do_idle"],
      ["guest user"],
      ["host"],
      ["guest kernel", "do_idle"],
    ]);
    expect(samples.time).toEqual([0, 1e-6, 2e-6, 3e-6]);
    expect(profile.meta.categories[stackTable.category[samples.stack[0]]].name).toBe("Guest kernel");
  });
});

describe("openmetrics", () => {
  /** Names that want escaping, and times beyond all buckets. */
  const hostile: Report = {
    ...reported(hardware),
    machines: [{ name: 'a"b\\c\nd{} # EOF', pid: 1, vcpus: 2, sources: [] }],
    rows: [{ ...rows[0]!, machine: 'a"b\\c\nd{} # EOF', device: "é\t", octaves: new Array(37).fill(1), count: 37 }],
    stats: [{ machine: "x", pid: 3, counters: { exits: 5, halt_poll_success_ns: 1e15, decreased: -1 } }],
    times: [timeSplit('a"b', 1, { threads: { wallNs: 4e9, runNs: 3e9, queuedNs: 0, guestNs: 2e9, userNs: 1e9 } })],
    lost: 3,
  };

  it.skipIf(NEEDS_PROMETHEUS)(`is scraped by Prometheus, with the report's figures${NEEDS_PROMETHEUS}`, async () => {
    let text = exported(hardware, "openmetrics").toString();
    const server = createServer((_request, response) => {
      response.setHeader("Content-Type", METRICS_FORMATS.openmetrics).end(text);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const prometheus = await Prometheus.start((server.address() as AddressInfo).port);
    try {
      const found = await prometheus.query("kvm_exits_total");
      expect(await prometheus.lastError()).toBe("");
      expect(found.reduce((sum, { value }) => sum + value, 0)).toBe(exits);
      const [sum] = await prometheus.query("sum(kvm_exit_away_seconds_sum)");
      expect(sum!.value * 1e9).toBeCloseTo(awayNs, 0);
      const [quantile] = await prometheus.query(
        'histogram_quantile(0.5, sum by (le) (kvm_exit_away_seconds_bucket{reason="CPUID"}))',
      );
      expect(quantile!.value).toBeGreaterThan(16e-6);
      expect(quantile!.value).toBeLessThan(33e-6);
      text = metrics(hostile, "openmetrics");
      const [named] = await prometheus.query('kvm_exits_total{device!=""}');
      expect(await prometheus.lastError()).toBe("");
      expect(named!.metric).toMatchObject({ vm: 'a"b\\c\nd{} # EOF', device: "é\t" });
    } finally {
      await prometheus.stop();
      server.close();
    }
  });

  it.skipIf(NEEDS_PROMETHEUS)(`has an older form that promtool finds nothing wrong with${NEEDS_PROMETHEUS}`, () => {
    for (const report of [hostile, { ...reported(hardware), lost: 0 }]) {
      const input = metrics(report, "prometheus");
      const { status, stdout, stderr } = spawnSync(prometheusProgram("promtool")!, ["check", "metrics"], { input });
      expect({ status, stdout: String(stdout), stderr: String(stderr) }).toEqual({ status: 0, stdout: "", stderr: "" });
    }
  });

  it("has the time of vCPUs by where it went; a state that nothing tells is not there", () => {
    const lines = metrics(hostile, "openmetrics").split("\n");
    const states = lines.filter((line) => line.startsWith("kvm_vcpu_time_seconds_total"));
    expect(states.map((line) => line.replace(/.*state="(\w+)"} /, "$1 "))).toEqual([
      "guest 2",
      "kernel 0",
      "polling 0",
      "user 1",
      "asleep 1",
      "queued 0",
    ]);
  });

  it("ends with its mark, whatever there is", () => {
    const nothing: Report = { seconds: 0, machines: [], rows: [], stats: [], lost: 0, notes: [] };
    expect(metrics(nothing, "openmetrics")).toMatch(/^# TYPE kvm_lost_records counter\n[\s\S]*\n# EOF\n$/);
  });
});
