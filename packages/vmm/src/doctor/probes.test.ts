import { readdirSync } from "node:fs";
import { Kvm } from "@tools-kvm/kvm-binding";
import { hasKvm, NEEDS_KVM } from "tools-testing";
import { describe, expect, it } from "vitest";
import { kvmKind } from "../machine/host.js";
import { pioExitsPerSecond, runProbes } from "./probes.js";

describe.skipIf(!hasKvm)(`the probes${NEEDS_KVM}`, () => {
  it("each ask one question, whose answer says what it means when it is no", () => {
    using kvm = Kvm.open();
    const results = runProbes(kvm);
    expect(new Set(results.map(({ name }) => name)).size).toBe(results.length);
    for (const { ok, found, meaning } of results) {
      expect(ok).toBe(found === "");
      expect(meaning).toMatch(/\w+ \w+/);
    }
  });

  it("find what every machine here needs: 32-bit entry and long mode", () => {
    using kvm = Kvm.open();
    const results = new Map(runProbes(kvm).map(({ name, found }) => [name, found]));
    expect(results.get("32-bit protected mode")).toBe("");
    expect(results.get("64-bit long mode")).toBe("");
  });

  it.skipIf(!["svm", "vmx"].includes(kvmKind()))(
    "find nothing amiss on a processor's own virtualization (needs kvm-amd or kvm-intel)",
    () => {
      using kvm = Kvm.open();
      expect(runProbes(kvm).filter(({ ok }) => !ok)).toEqual([]);
    },
  );

  it("leave nothing open", () => {
    using kvm = Kvm.open();
    runProbes(kvm);
    const before = readdirSync("/proc/self/fd").length;
    for (let i = 0; i < 5; i++) runProbes(kvm);
    expect(readdirSync("/proc/self/fd").length).toBe(before);
  });

  it("measure port exits in a plausible number", () => {
    using kvm = Kvm.open();
    const perSecond = pioExitsPerSecond(kvm, 20);
    expect(perSecond).toBeGreaterThan(100);
    expect(perSecond).toBeLessThan(50e6);
  });
});
