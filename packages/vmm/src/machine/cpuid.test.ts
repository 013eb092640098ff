import type { CpuidEntry } from "@tools-kvm/kvm-binding";
import { describe, expect, it } from "vitest";
import { cpuidFor } from "./cpuid.js";

const entry = (leaf: number, registers: Partial<CpuidEntry> = {}): CpuidEntry => ({
  function: leaf,
  index: 0,
  flags: 0,
  eax: 0,
  ebx: 0,
  ecx: 0,
  edx: 0,
  ...registers,
});
const policy = { cpus: 4, paravirtual: true, tscDeadlineTimer: true };
const leaf = (entries: CpuidEntry[], number: number, index = 0) =>
  entries.find((each) => each.function === number && each.index === index)!;

describe("CPUID", () => {
  it("gives each vCPU its APIC id and says how many share the package", () => {
    const one = leaf(cpuidFor([entry(1)], 3, policy), 1);
    expect(one.ebx >>> 24).toBe(3);
    expect((one.ebx >>> 16) & 0xff).toBe(4);
    expect(one.edx & (1 << 28)).not.toBe(0);
  });

  it("says that there is a hypervisor, and a TSC deadline timer only where there is one", () => {
    const ecx = (tscDeadlineTimer: boolean) => leaf(cpuidFor([entry(1)], 0, { ...policy, tscDeadlineTimer }), 1).ecx;
    expect(ecx(true) >>> 31).toBe(1);
    expect((ecx(true) >>> 24) & 1).toBe(1);
    expect((ecx(false) >>> 24) & 1).toBe(0);
  });

  it("replaces the host's topology by one package of single-threaded cores", () => {
    const entries = cpuidFor([entry(0xb, { ebx: 64 }), entry(0x1f)], 2, policy);
    expect(leaf(entries, 0xb, 0)).toMatchObject({ ebx: 1, edx: 2 });
    expect(leaf(entries, 0xb, 1)).toMatchObject({ eax: 2, ebx: 4, edx: 2 });
    expect(leaf(entries, 0x1f)).toBeUndefined();
  });

  it("hides KVM's features where a hypercall would never return", () => {
    const host = [entry(0x4000_0000, { eax: 0x4000_0001 }), entry(0x4000_0001, { eax: 0xff })];
    const hidden = cpuidFor(host, 0, { ...policy, paravirtual: false });
    expect(leaf(hidden, 0x4000_0000).eax).toBe(0x4000_0000);
    expect(leaf(hidden, 0x4000_0001).eax).toBe(0);
    expect(leaf(cpuidFor(host, 0, policy), 0x4000_0001).eax).toBe(0xff);
  });

  it("leaves the host's entries as they were", () => {
    const host = [entry(1)];
    cpuidFor(host, 3, policy);
    expect(host).toEqual([entry(1)]);
  });
});
