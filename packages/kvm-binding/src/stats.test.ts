import { spawn } from "node:child_process";
import { mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { KvmError, StatsFd } from "./index.js";
import { hasKvm, NEEDS_KVM, realModeGuest } from "./testing.js";

describe.skipIf(!hasKvm)(`statistics${NEEDS_KVM}`, () => {
  it("name their owner and describe their counters", () => {
    using guest = realModeGuest([0xf4]);
    using vm = guest.vm.getStatsFd();
    using vcpu = guest.vcpu.getStatsFd();
    expect(vm.id).toMatch(/^kvm-\d+$/);
    expect(vcpu.id).toBe(`${vm.id}/vcpu-0`);
    expect(vcpu.descriptor("exits")).toMatchObject({ type: "cumulative", unit: "none", count: 1 });
    const histogram = vcpu.descriptors.find((d) => d.type === "log histogram");
    if (histogram !== undefined) expect(histogram.count).toBeGreaterThan(1);
    expect(vcpu.descriptor("no such counter")).toBe(undefined);
    expect(vcpu.value("no such counter")).toBe(undefined);
  });

  it("count", () => {
    using guest = realModeGuest([0xe6, 0x10, 0xeb, 0xfc]);
    using stats = guest.vcpu.getStatsFd();
    stats.read();
    const before = stats.value("exits")!;
    for (let i = 0; i < 10; i++) guest.vcpu.run();
    const { values } = stats;
    expect(stats.read()).toBe(values);
    expect(stats.value("exits")! - before).toBeGreaterThanOrEqual(10);
  });

  it("stay readable after VM and vCPU are closed", () => {
    const guest = realModeGuest([0xf4]);
    using stats = guest.vcpu.getStatsFd();
    guest[Symbol.dispose]();
    expect(stats.read().length).toBeGreaterThan(10);
  });

  it("are found in a process and taken from it", async () => {
    const dist = new URL("../dist/index.js", import.meta.url).href;
    const child = spawn(
      process.execPath,
      [
        "-e",
        `import(${JSON.stringify(dist)}).then((b) => { const kvm = b.Kvm.open(), vm = kvm.createVm(), v = vm.createVcpu(3); globalThis.keep = [vm, v, vm.getStatsFd(), v.getStatsFd()]; console.log("ready"); setInterval(() => {}, 1000); })`,
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    try {
      await new Promise((resolve) => child.stdout.once("data", resolve));
      const found = StatsFd.find(child.pid!);
      expect(found.map(({ owner, vcpuId }) => [owner, vcpuId])).toEqual([
        ["vm", -1],
        ["vcpu", 3],
      ]);
      using taken = StatsFd.take(child.pid!, found[1]!.fd);
      expect(taken.id).toBe(`kvm-${child.pid}/vcpu-3`);
      expect(taken.read().length).toBeGreaterThan(10);
      expect(() => StatsFd.take(child.pid!, 0)).toThrow(KvmError); // /dev/null
      expect(() => StatsFd.take(child.pid!, 9999)).toThrow(/pidfd_getfd failed with EBADF/);
    } finally {
      child.kill();
    }
    expect(() => StatsFd.take(2 ** 22 + 1, 0)).toThrow(/pidfd_open failed with ESRCH/);
    expect(StatsFd.find(2 ** 22 + 1)).toEqual([]);
  });
});

describe("a hostile statistics file", () => {
  it("is refused with a KvmError, whatever it says", () => {
    const folder = mkdtempSync(join(tmpdir(), "kvm-binding-stats-"));
    const path = join(folder, "stats");
    const fd = openSync(path, "w+");
    const header = fc.tuple(
      ...Array.from({ length: 6 }, () =>
        fc.oneof(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: 2 ** 32 - 1 })),
      ),
    );
    fc.assert(
      fc.property(header, fc.uint8Array({ maxLength: 600 }), (fields, rest) => {
        writeFileSync(path, Buffer.concat([Buffer.from(Uint32Array.from(fields as number[]).buffer), rest]));
        try {
          const stats = StatsFd.take(process.pid, fd);
          stats.read();
          stats.close();
        } catch (error) {
          expect(error).toBeInstanceOf(KvmError);
        }
      }),
      { numRuns: 300 },
    );
    rmSync(folder, { recursive: true });
  });
});
