import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import * as b from "./index.js";
import { hasKvm, NEEDS_KVM, realModeGuest } from "./testing.js";

const { KvmError, PerfEvent } = b;

const canPerf = (() => {
  try {
    PerfEvent.open({ type: b.PERF_TYPE_SOFTWARE, config: b.PERF_COUNT_SW_DUMMY }, { pid: 0, cpu: -1 }).close();
    return true;
  } catch {
    return false;
  }
})();
const NEEDS_PERF = canPerf ? "" : " (skipped: perf_event_open is not allowed here)";

const tracing = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].find((p) => existsSync(`${p}/events/kvm`));
const tracepoint = (name: string) => Number(readFileSync(`${tracing}/events/kvm/${name}/id`, "utf8"));

/** Clock samples of this thread, each a record of a known shape. */
const samples: b.PerfAttr = {
  type: b.PERF_TYPE_SOFTWARE,
  config: b.PERF_COUNT_SW_CONTEXT_SWITCHES,
  samplePeriod: 1,
  sampleType: b.PERF_SAMPLE_TID | b.PERF_SAMPLE_TIME,
};

/** Keeps this thread's CPU busy for so long, by the CPU's own account: a busy host may give it less than the wall clock says. */
function busyMs(ms: number): void {
  const start = process.cpuUsage();
  for (let used = process.cpuUsage(start); used.user + used.system < ms * 1000; used = process.cpuUsage(start)) {
    for (let i = 0; i < 10_000; i++);
  }
}

describe("perf attributes", () => {
  it("put every one-bit member where the kernel has it", () => {
    const { bits, size, config, samplePeriod } = b.encodePerfAttr({
      config: 5,
      samplePeriod: 7,
      disabled: true,
      sampleIdAll: true,
      preciseIp: 3,
      sigtrap: false,
    });
    expect(bits).toBe((1n << 0n) | (1n << 18n) | (3n << 15n));
    expect([size, config, samplePeriod]).toEqual([b.PerfEventAttr.sizeBytes, 5n, 7n]);
    expect(() => b.encodePerfAttr({ nonsense: 1 } as never)).toThrow(TypeError);
  });
});

describe.skipIf(!canPerf)(`perf events${NEEDS_PERF}`, () => {
  it("count, with the time they were enabled", () => {
    using event = PerfEvent.open(
      { type: b.PERF_TYPE_SOFTWARE, config: b.PERF_COUNT_SW_TASK_CLOCK, disabled: true },
      { pid: 0, cpu: -1 },
    );
    expect(event.read().value).toBe(0);
    event.enable();
    busyMs(5);
    event.disable();
    const count = event.read();
    expect(count.value).toBeGreaterThan(1e6);
    expect(count.timeEnabledNs).toBeGreaterThan(1e6);
    expect(count.timeRunningNs).toBeGreaterThan(1e6);
    expect(count.id).toBe(event.id);
    event.reset();
    expect(event.read().value).toBe(0);
  });

  it("count in groups, read at once", () => {
    const readFormat = b.PERF_FORMAT_GROUP | b.PERF_FORMAT_ID | b.PERF_FORMAT_TOTAL_TIME_ENABLED;
    using leader = PerfEvent.open(
      { type: b.PERF_TYPE_SOFTWARE, config: b.PERF_COUNT_SW_TASK_CLOCK, readFormat },
      { pid: 0, cpu: -1 },
    );
    using member = PerfEvent.open(
      { type: b.PERF_TYPE_SOFTWARE, config: b.PERF_COUNT_SW_PAGE_FAULTS, readFormat },
      { pid: 0, cpu: -1, group: leader },
    );
    busyMs(2);
    const counts = leader.readGroup();
    expect(counts.map((c) => c.id)).toEqual([leader.id, member.id]);
    expect(counts[0]!.value).toBeGreaterThan(0);
    using alone = PerfEvent.open({ type: b.PERF_TYPE_SOFTWARE, config: b.PERF_COUNT_SW_DUMMY }, { pid: 0, cpu: -1 });
    expect(() => alone.readGroup()).toThrow(/PERF_FORMAT_GROUP/);
  });

  it("say what is wrong", () => {
    const attr = { type: b.PERF_TYPE_SOFTWARE, config: b.PERF_COUNT_SW_DUMMY };
    expect(() => PerfEvent.open({ type: 12345 }, { pid: 0, cpu: -1 })).toThrow(/perf_event_open failed with/);
    expect(() => PerfEvent.open(attr, { pid: 2 ** 22 + 1, cpu: -1 })).toThrow(/ESRCH/);
    expect(() => PerfEvent.open(attr, { pid: 0.5, cpu: -1 })).toThrow(KvmError);
    expect(() => PerfEvent.open({ ...attr, sigtrap: true }, { pid: 0, cpu: -1 })).toThrow(/sigtrap/);
    using event = PerfEvent.open(attr, { pid: 0, cpu: -1 });
    expect(() => event.setFilter("no == field")).toThrow(/SET_FILTER failed/);
    expect(() => event.mapRing(3)).toThrow(/power of two/);
    expect(() => event.mapRing(0)).toThrow(/power of two/);
    const ring = event.mapRing(1);
    expect(() => event.mapRing(1)).toThrow(/has its ring/);
    expect(ring.drain(new Uint8Array(8))).toBe(0);
  });

  it("deliver whole records through the ring, across its end, whatever the room", async () => {
    using event = PerfEvent.open(samples, { pid: 0, cpu: -1 });
    const ring = event.mapRing(1); // 4096 bytes: it wraps after some 170 records
    expect(ring.sizeBytes).toBe(4096);
    const RECORD_BYTES = 8 + 8 + 8;
    let records = 0;
    let last = 0n;
    for (let room = 24; records < 600; room = 24 + ((room * 7) % 300)) {
      await new Promise((resolve) => setTimeout(resolve, 0)); // a context switch or more
      const into = new Uint8Array(room);
      const bytes = ring.drain(into);
      expect(bytes % RECORD_BYTES).toBe(0);
      const view = new DataView(into.buffer);
      for (let at = 0; at < bytes; at += RECORD_BYTES) {
        expect([view.getUint32(at, true), view.getUint16(at + 6, true)]).toEqual([b.PERF_RECORD_SAMPLE, RECORD_BYTES]);
        expect(view.getUint32(at + 8, true)).toBe(process.pid);
        const time = view.getBigUint64(at + 16, true);
        expect(time).toBeGreaterThanOrEqual(last);
        last = time;
        records++;
      }
    }
  });

  it("keep a record that has no room", async () => {
    using event = PerfEvent.open(samples, { pid: 0, cpu: -1 });
    const ring = event.mapRing(1);
    while (ring.pendingBytes === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    event.disable();
    const pending = ring.pendingBytes;
    expect(() => ring.drain(new Uint8Array(23))).toThrow(/24 bytes, more than there is room for/);
    expect(ring.pendingBytes).toBe(pending);
    expect(ring.drain(new Uint8Array(4096))).toBe(pending);
    event.close();
    expect(() => ring.drain(new Uint8Array(24))).toThrow(/closed/);
  });

  it("wake a poller, and share a ring", () => {
    using first = PerfEvent.open(
      { ...samples, config: b.PERF_COUNT_SW_PAGE_FAULTS, wakeupEvents: 1 },
      { pid: 0, cpu: 0 },
    );
    using second = PerfEvent.open({ ...samples, config: b.PERF_COUNT_SW_DUMMY }, { pid: 0, cpu: 0 });
    first.mapRing(1);
    second.setOutput(first);
    second.setOutput(null);
    using poller = new b.Poller();
    poller.add(first, 1);
    expect(poller.wait(0)).toBeGreaterThanOrEqual(0);
    first.pauseOutput(true);
    first.pauseOutput(false);
    first.setPeriod(1000);
  });

  it("open by the hundred", () => {
    const events = Array.from({ length: 500 }, () =>
      PerfEvent.open({ type: b.PERF_TYPE_SOFTWARE, config: b.PERF_COUNT_SW_DUMMY }, { pid: 0, cpu: -1 }),
    );
    for (const event of events) {
      event.read();
      event.close();
    }
  });
});

describe.skipIf(!canPerf || !hasKvm || tracing === undefined)(
  `KVM tracepoints${NEEDS_KVM}${tracing ? "" : " (skipped: tracefs is not mounted)"}`,
  () => {
    it("count and filter this thread's exits", () => {
      using guest = realModeGuest([0xe6, 0x10, 0xeb, 0xfc]);
      const attr = { type: b.PERF_TYPE_TRACEPOINT, config: tracepoint("kvm_userspace_exit") };
      using all = PerfEvent.open(attr, { pid: 0, cpu: -1 });
      using none = PerfEvent.open({ ...attr, samplePeriod: 1 }, { pid: 0, cpu: -1 });
      none.setFilter(`reason == ${b.KVM_EXIT_MMIO}`);
      for (let i = 0; i < 50; i++) guest.vcpu.run();
      expect(all.read().value).toBe(50);
      expect(none.read().value).toBe(0);
    });
  },
);
