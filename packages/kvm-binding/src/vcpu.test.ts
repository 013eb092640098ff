import { describe, expect, it } from "vitest";
import * as b from "./index.js";
import { CODE, hasKvm, NEEDS_KVM, realModeGuest } from "./testing.js";

const { KvmError } = b;
const withIrqchip = (vm: b.Vm) => vm.createIrqchip();

describe.skipIf(!hasKvm)(`a vCPU's state${NEEDS_KVM}`, () => {
  it("is read and written register by register", () => {
    using guest = realModeGuest([0xf4]);
    const { vcpu } = guest;
    vcpu.setRegs({ rax: 0x1122334455667788n, r15: 15, rip: CODE, rflags: 2 });
    const regs = vcpu.getRegs();
    expect([regs.rax, regs.r15, regs.rip]).toEqual([0x1122334455667788n, 15n, BigInt(CODE)]);
    regs.rbx = 7n;
    vcpu.setRegs(regs);
    expect(vcpu.getRegs().rbx).toBe(7n);

    const sregs = vcpu.getSregs();
    sregs.cr2 = 0xabc000n;
    vcpu.setSregs(sregs);
    expect(vcpu.getSregs().cr2).toBe(0xabc000n);
    const sregs2 = vcpu.getSregs2();
    expect(sregs2.cr2).toBe(0xabc000n);
    vcpu.setSregs2(sregs2);
  });

  it("has FPU, XSAVE, XCRs and debug registers that survive a round trip", () => {
    using guest = realModeGuest([0xf4]);
    const { vcpu, vm, kvm } = guest;
    vcpu.setCpuid2(kvm.getSupportedCpuid());
    const fpu = vcpu.getFpu();
    fpu.fcw = 0x27f;
    fpu.xmm[0] = 0xaa;
    vcpu.setFpu(fpu);
    expect([vcpu.getFpu().fcw, vcpu.getFpu().xmm[0]]).toEqual([0x27f, 0xaa]);

    const xsave = vcpu.getXsave();
    xsave.bytes[160] = 0xbb; // XMM0 in the legacy region,
    xsave.bytes[512]! |= 2; // which counts when XSTATE_BV says so
    vcpu.setXsave(xsave);
    expect(vcpu.getFpu().xmm[0]).toBe(0xbb);
    const whole = vcpu.getXsave2(vm.checkExtension(b.KVM_CAP_XSAVE2));
    expect(whole.subarray(0, 512)).toEqual(xsave.bytes.subarray(0, 512));
    vcpu.setXsave(whole);
    expect(() => vcpu.setXsave(new Uint8Array(100))).toThrow(/4096 bytes/);
    expect(() => vcpu.getXsave2(1e6)).toThrow(KvmError);
    expect(() => vcpu.getXsave2(-1)).toThrow(KvmError);

    const xcrs = vcpu.getXcrs();
    expect(xcrs.nrXcrs).toBeGreaterThan(0);
    vcpu.setXcrs(xcrs);

    const debugregs = vcpu.getDebugregs();
    debugregs.db[0] = 0x1234n;
    vcpu.setDebugregs(debugregs);
    expect(vcpu.getDebugregs().db[0]).toBe(0x1234n);
  });

  it("has events, an MP state and a local APIC with the in-kernel irqchip", () => {
    using guest = realModeGuest([0xf4], withIrqchip);
    const { vcpu } = guest;
    const events = vcpu.getVcpuEvents();
    events.nmiPending = 1;
    events.flags = b.KVM_VCPUEVENT_VALID_NMI_PENDING;
    vcpu.setVcpuEvents(events);
    expect(vcpu.getVcpuEvents().nmiPending).toBe(1);

    expect(vcpu.getMpState()).toBe(b.KVM_MP_STATE_RUNNABLE);
    vcpu.setMpState(b.KVM_MP_STATE_HALTED);
    expect(vcpu.getMpState()).toBe(b.KVM_MP_STATE_HALTED);
    expect(() => vcpu.setMpState(999)).toThrow(/EINVAL/);

    const lapic = vcpu.getLapic();
    lapic.regs[0x80] = 0x50; // task priority
    vcpu.setLapic(lapic);
    expect(vcpu.getLapic().regs[0x80]).toBe(0x50);
  });

  it("has MSRs", () => {
    using guest = realModeGuest([0xf4]);
    const { vcpu } = guest;
    const KERNEL_GS_BASE = 0xc0000102;
    vcpu.setMsrs([{ index: KERNEL_GS_BASE, data: 0x123456789an }]);
    expect(vcpu.getMsrs([KERNEL_GS_BASE])).toEqual([{ index: KERNEL_GS_BASE, data: 0x123456789an }]);
    expect(() => vcpu.getMsrs([KERNEL_GS_BASE, 0xdeadbeef])).toThrow(/does not take MSR 0xdeadbeef/);
    expect(() => vcpu.setMsrs([{ index: 0xdeadbeef, data: 0 }])).toThrow(/MSR 0xdeadbeef/);
    expect(vcpu.getMsrs([])).toEqual([]);
  });

  it("has the CPUID it was given", () => {
    using guest = realModeGuest([0xf4]);
    const leaves = guest.kvm.getSupportedCpuid();
    guest.vcpu.setCpuid2(leaves);
    const back = guest.vcpu.getCpuid2();
    expect(back).toHaveLength(leaves.length);
    expect(back.find((leaf) => leaf.function === 0)).toMatchObject({
      ebx: leaves.find((leaf) => leaf.function === 0)!.ebx,
    });
  });

  it("translates addresses by its page tables, and by nothing in real mode", () => {
    using guest = realModeGuest([0xf4]);
    expect(guest.vcpu.translate(0x1234).toObject()).toMatchObject({ physicalAddress: 0x1234n, valid: 1 });
    // Long mode tables: 1 GiB identity by one 2 MiB page at 0, and a hole behind it.
    const { memory, vcpu } = guest;
    const tables = new DataView(memory.bytes.buffer, memory.bytes.byteOffset);
    tables.setBigUint64(0x10000, 0x11007n, true);
    tables.setBigUint64(0x11000, 0x12007n, true);
    tables.setBigUint64(0x12000, 0x87n, true);
    const sregs = vcpu.getSregs();
    sregs.assign({ cr3: 0x10000, cr4: 0x20, cr0: 0x80000011n, efer: 0x500 });
    sregs.cs.assign({ l: 1, db: 0, type: 11, s: 1, present: 1, selector: 8 });
    vcpu.setSregs(sregs);
    expect(vcpu.translate(0x3456).toObject()).toMatchObject({ physicalAddress: 0x3456n, valid: 1 });
    expect(vcpu.translate(0x200000).valid).toBe(0);
  });

  it("has a TSC with a frequency and an offset", () => {
    using guest = realModeGuest([0xf4]);
    expect(guest.vcpu.getTscKhz()).toBeGreaterThan(100_000);
    if (guest.vm.checkExtension(b.KVM_CAP_TSC_CONTROL) > 0) guest.vcpu.setTscKhz(guest.vcpu.getTscKhz());
    const offset = guest.vcpu.getTscOffset();
    guest.vcpu.setTscOffset(offset);
    expect(guest.vcpu.getTscOffset()).toBeTypeOf("bigint");
  });

  it("takes machine checks, TPR reporting, a VAPIC page, and Hyper-V leaves where KVM has them", () => {
    using guest = realModeGuest([0xf4], withIrqchip);
    const { vcpu, kvm, vm } = guest;
    const optional = (attempt: () => void) => {
      try {
        attempt();
      } catch (error) {
        expect(error).toBeInstanceOf(KvmError);
      }
    };
    vcpu.setupMce(kvm.getMceCapSupported() | 4n);
    vcpu.setMce({ bank: 1, status: 0x9000000000000000n });
    optional(() => vcpu.tprAccessReporting(true));
    vcpu.setVapicAddr(0x6000);
    optional(() => vcpu.kvmclockCtrl());
    optional(() => vcpu.smi());
    optional(() => vcpu.preFaultMemory({ gpa: 0, sizeBytes: 4096 }));
    if (vm.checkExtension(b.KVM_CAP_HYPERV_CPUID) > 0) expect(vcpu.getSupportedHvCpuid().length).toBeGreaterThan(0);
    optional(() => vcpu.enableCap(b.KVM_CAP_HYPERV_SYNIC));
    optional(() => vcpu.getOneReg(0x2030000000000000n));
    optional(() => vcpu.setOneReg(0x2030000000000000n, new Uint8Array(8)));
    expect(() => vcpu.setOneReg(0x2030000000000000n, new Uint8Array(4))).toThrow(/8 bytes/);
  });

  it("has nested state where the host nests", () => {
    using guest = realModeGuest([0xf4]);
    if (guest.vm.checkExtension(b.KVM_CAP_NESTED_STATE) === 0) {
      expect(() => guest.vcpu.getNestedState()).toThrow(KvmError);
      return;
    }
    const state = guest.vcpu.getNestedState();
    expect(state.length).toBeGreaterThanOrEqual(128);
    guest.vcpu.setNestedState(state);
  });

  it("blocks signals while the guest runs, and unblocks them", () => {
    using guest = realModeGuest([0xf4]);
    guest.vcpu.setSignalMask(1n << 9n);
    guest.vcpu.setSignalMask(null);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_HLT);
  });
});
