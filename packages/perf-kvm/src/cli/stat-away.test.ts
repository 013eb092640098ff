/** `perf-kvm stat` where kvm_exit fires: times away from the guest. The lab's suite runs it on a real kvm-amd. */
import { hasKvm, PERF_KVM, Scratch } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import type { Report } from "../model/report.js";
import { lookAtHost } from "../sources/host.js";

vi.setConfig({ testTimeout: 60_000 });
const scratch = new Scratch(PERF_KVM);
afterAll(() => scratch.close());

const CPUID_EXITS = 2000;
const isHardware = hasKvm && lookAtHost().tracepoints === "hardware";
const NEEDS_HARDWARE = isHardware ? "" : " (needs kvm_exit, on kvm-amd or kvm-intel)";

describe("perf-kvm stat", () => {
  it.skipIf(!isHardware)(`gives the times away from the guest, and which vCPU left${NEEDS_HARDWARE}`, async () => {
    const machine = await scratch.machine("timed");
    const stat = scratch.start([
      ...["stat", "--vm", "timed", "--json", "--source", "tracepoints", "--interval-print", "500"],
    ]);
    await stat.until("\n");
    machine.type(`exits cpuid ${CPUID_EXITS}\r`);
    await machine.until(`cpuid ${CPUID_EXITS} in `);
    stat.signal("SIGINT");
    const { status, stdout } = await stat.ended;
    expect(status).toBe(0);
    const { rows, groups } = JSON.parse(stdout.trim().split("\n").at(-1)!) as Report;
    const cpuid = rows.find(({ reason }) => reason === "CPUID")!;
    expect(cpuid.count).toBe(CPUID_EXITS);
    const times = [cpuid.minNs!, cpuid.p50Ns!, cpuid.p99Ns!, cpuid.maxNs!];
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(cpuid.avgNs).toBeGreaterThanOrEqual(cpuid.minNs!);
    expect(cpuid.avgNs).toBeLessThanOrEqual(cpuid.maxNs!);
    expect(cpuid.octaves!.reduce((a, b) => a + b)).toBe(CPUID_EXITS);

    const all = rows.reduce((sum, { count }) => sum + count, 0);
    expect(groups!.vcpu.map(({ vcpu, count }) => ({ vcpu, count }))).toEqual([{ vcpu: 0, count: all }]);
    expect(groups!.vm).toMatchObject([{ machine: "timed", source: "kvm_exit", count: all }]);
    expect(groups!.reason.reduce((sum, { count }) => sum + count, 0)).toBe(all);
  });

  it.skipIf(!isHardware)(
    `counts one kind of access, with its address, by the kernel's filter${NEEDS_HARDWARE}`,
    async () => {
      const machine = await scratch.machine("filtered");
      const stat = scratch.start([
        ...["stat", "--vm", "filtered", "--json", "--source", "tracepoints", "--event", "mmio"],
        ...["--duration-over", "1", "--interval-print", "500"],
      ]);
      await stat.until("\n");
      machine.type("exits mmio 300\r");
      await machine.until("mmio 300 in ");
      machine.type("exits cpuid 100\r");
      await machine.until("cpuid 100 in ");
      stat.signal("SIGINT");
      const { rows } = JSON.parse((await stat.ended).stdout.trim().split("\n").at(-1)!) as Report;
      expect(new Set(rows.map(({ reason }) => reason))).toEqual(new Set(["NPF"]));
      expect(Math.max(...rows.map(({ count }) => count))).toBe(300);
      for (const { detail } of rows) expect(detail).toMatch(/^0x[0-9a-f]+ (in|out)$/);
    },
  );
});
