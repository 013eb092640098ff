import { describe, expect, it } from "vitest";
import * as b from "./index.js";
import { native } from "./load-native.js";
import { hasKvm, NEEDS_KVM } from "./testing.js";

describe("opening KVM", () => {
  it("says which path is not there, and what to do", () => {
    expect(() => b.Kvm.open("/dev/no-such-kvm")).toThrow(/open failed with ENOENT: \/dev\/no-such-kvm .*modprobe/);
  });

  it("refuses a file that does not answer as KVM does", () => {
    expect(() => b.Kvm.open("/dev/null")).toThrow(/KVM_GET_API_VERSION failed with ENOTTY/);
    expect(() => b.Kvm.open("")).toThrow(b.KvmError);
    expect(() => b.Kvm.open("/dev/kvm\0x")).toThrow(/NUL/);
    expect(() => b.Kvm.open(5 as never)).toThrow(TypeError);
  });
});

describe.skipIf(!hasKvm)(`/dev/kvm${NEEDS_KVM}`, () => {
  it("answers the system ioctls", () => {
    using kvm = b.Kvm.open();
    expect(kvm.getApiVersion()).toBe(12);
    expect(kvm.checkExtension(b.KVM_CAP_USER_MEMORY)).toBe(1);
    expect(kvm.checkExtension(0x7fffffff)).toBe(0);
    expect(kvm.getVcpuMmapSize()).toBeGreaterThanOrEqual(3 * 4096);
    expect(kvm.getMceCapSupported()).toBeTypeOf("bigint");
  });

  it("lists CPUID leaves and MSRs", () => {
    using kvm = b.Kvm.open();
    const leaves = kvm.getSupportedCpuid();
    expect(leaves.find((leaf) => leaf.function === 0)!.eax).toBeGreaterThan(0);
    expect(leaves.every((leaf) => leaf.ebx >= 0)).toBe(true);
    expect(Array.isArray(kvm.getEmulatedCpuid())).toBe(true);
    expect(kvm.getMsrIndexList()).toContain(0x10); // TSC
    const features = kvm.getMsrFeatureIndexList();
    const values = kvm.getMsrs(features.subarray(0, 1));
    expect(values.map((v) => v.index)).toEqual([features[0]]);
    expect(() => kvm.getMsrs([0x12345678])).toThrow(/MSR 0x12345678/);
  });

  it("says what the Hyper-V leaves are, where KVM has them", () => {
    using kvm = b.Kvm.open();
    if (kvm.checkExtension(b.KVM_CAP_SYS_HYPERV_CPUID) > 0) {
      expect(kvm.getSupportedHvCpuid().some((leaf) => leaf.function === 0x40000000)).toBe(true);
    }
  });

  it("refuses a VM type it does not have", () => {
    using kvm = b.Kvm.open();
    expect(() => kvm.createVm({ type: 12345 })).toThrow(/KVM_CREATE_VM failed with EINVAL: type 12345/);
    expect(() => kvm.createVm({ type: -1 })).toThrow(b.KvmError);
  });

  it("can be attached to elsewhere", () => {
    using kvm = b.Kvm.open();
    using other = b.Kvm.attach(kvm.share());
    expect(other.getApiVersion()).toBe(12);
  });
});

describe("the native ioctl table", () => {
  it("has the request numbers that the C compiler gives them", () => {
    const table = native.ioctlTable();
    expect(table.length).toBeGreaterThan(60);
    for (const [name, request] of table) expect(request, name).toBe((b as unknown as Record<string, number>)[name]);
  });
});
