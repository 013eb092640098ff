import { describe, expect, it } from "vitest";
import * as b from "./index.js";
import { EINTR } from "./index.js";
import { CODE, hasKvm, NEEDS_KVM, realModeGuest } from "./testing.js";

// The lab's processor is emulated, and its VMRUN does not arm the guest's breakpoints.
const emulated = process.env.TOOLS_KVM_LAB === "1";
const NOT_EMULATED = emulated ? " (skipped: the lab's processor arms no breakpoints of a guest's)" : "";

const runOf = (vcpu: b.Vcpu) => ({ view: new DataView(vcpu.runPage), bytes: new Uint8Array(vcpu.runPage) });

describe.skipIf(!hasKvm)(`run()${NEEDS_KVM}`, () => {
  it("returns port output with port, width and value in the run page", () => {
    using guest = realModeGuest([0xba, 0xf8, 0x03, 0xb8, 0x34, 0x12, 0xef, 0xf4]); // mov dx, 0x3f8; mov ax, 0x1234; out dx, ax; hlt
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
    const { view } = runOf(guest.vcpu);
    expect(view.getUint32(b.RUN_EXIT_REASON, true)).toBe(b.KVM_EXIT_IO);
    expect(view.getUint8(b.RUN_IO_DIRECTION)).toBe(b.KVM_EXIT_IO_OUT);
    expect(view.getUint8(b.RUN_IO_SIZE)).toBe(2);
    expect(view.getUint16(b.RUN_IO_PORT, true)).toBe(0x3f8);
    expect(view.getUint32(b.RUN_IO_COUNT, true)).toBe(1);
    expect(view.getUint16(Number(view.getBigUint64(b.RUN_IO_DATA_OFFSET, true)), true)).toBe(0x1234);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_HLT);
  });

  it("gives the guest what was put in the run page for port input", () => {
    using guest = realModeGuest([0xe4, 0x60, 0xf4]); // in al, 0x60; hlt
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
    const { ioDirection, ioDataOffset } = guest.vcpu.runView;
    expect(ioDirection).toBe(b.KVM_EXIT_IO_IN);
    new Uint8Array(guest.vcpu.runPage)[Number(ioDataOffset)] = 0xab;
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_HLT);
    expect(guest.vcpu.getRegs().rax & 0xffn).toBe(0xabn);
  });

  it("moves strings through ports several at a time", () => {
    // mov si, 0x5000; mov cx, 4; mov dx, 0xe9; rep outsb; hlt
    using guest = realModeGuest([0xbe, 0x00, 0x50, 0xb9, 0x04, 0x00, 0xba, 0xe9, 0x00, 0xf3, 0x6e, 0xf4]);
    guest.memory.bytes.set(new TextEncoder().encode("boot"), 0x5000);
    let text = "";
    while (guest.vcpu.run() === b.KVM_EXIT_IO) {
      const { ioCount, ioSize, ioDataOffset } = guest.vcpu.runView;
      text += String.fromCharCode(...new Uint8Array(guest.vcpu.runPage, Number(ioDataOffset), ioCount * ioSize));
    }
    expect(text).toBe("boot");
  });

  it("returns MMIO reads and writes", () => {
    // mov ax, 0xf000; mov ds, ax; mov bx, 0xfff0; mov al, [bx]; inc al; mov [bx], al; hlt (0xffff0 lies in memory: use the slot's end)
    using guest = realModeGuest([
      0xb8, 0xff, 0xff, 0x8e, 0xd8, 0xbb, 0x10, 0x10, 0x8a, 0x07, 0xfe, 0xc0, 0x88, 0x07, 0xf4,
    ]);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_MMIO);
    const read = guest.vcpu.runView;
    expect([read.mmioPhysAddr, read.mmioLen, read.mmioIsWrite]).toEqual([0x101000n, 1, 0]);
    read.mmioData[0] = 0x41;
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_MMIO);
    const write = guest.vcpu.runView;
    expect([write.mmioIsWrite, write.mmioData[0]]).toEqual([1, 0x42]);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_HLT);
  });

  it("returns -EINTR at once after a kick that came between two runs, and only once", () => {
    using guest = realModeGuest([0xe6, 0x10, 0xf4]);
    guest.vcpu.kick();
    guest.vcpu.kick();
    expect(guest.vcpu.run()).toBe(-EINTR);
    expect(guest.vcpu.runView.immediateExit).toBe(0);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_HLT);
  });

  it("completes a pending port read before it honours a kick", () => {
    using guest = realModeGuest([0xe4, 0x60, 0xf4]);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
    new Uint8Array(guest.vcpu.runPage)[Number(guest.vcpu.runView.ioDataOffset)] = 0x5a;
    guest.vcpu.kick();
    expect(guest.vcpu.run()).toBe(-EINTR);
    expect(guest.vcpu.getRegs().rax & 0xffn).toBe(0x5an);
  });

  it("returns the shutdown of a triple fault", () => {
    using guest = realModeGuest([0x0f, 0x0b]); // ud2, in flat protected mode with no interrupt table
    const sregs = guest.vcpu.getSregs();
    sregs.cr0 |= 1n;
    sregs.idt.assign({ base: 0, limit: 0 });
    sregs.cs.assign({ base: 0, limit: 0xffffffff, selector: 8, type: 11, present: 1, s: 1, db: 1, g: 1 });
    guest.vcpu.setSregs(sregs);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_SHUTDOWN);
  });

  it("goes to user space for filtered MSRs, both ways", () => {
    // mov ecx, 0x174; rdmsr; wrmsr; hlt
    using guest = realModeGuest([0x66, 0xb9, 0x74, 0x01, 0x00, 0x00, 0x0f, 0x32, 0x0f, 0x30, 0xf4], (vm) => {
      vm.enableCap(b.KVM_CAP_X86_USER_SPACE_MSR, b.KVM_MSR_EXIT_REASON_FILTER);
      vm.setMsrFilter({ ranges: [{ base: 0x174, count: 1, bitmap: new Uint8Array(1) }] });
    });
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_X86_RDMSR);
    const read = guest.vcpu.runView;
    expect([read.msrIndex, read.msrReason]).toEqual([0x174, b.KVM_MSR_EXIT_REASON_FILTER]);
    read.msrData = 0x1_0000_0007n;
    read.msrError = 0;
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_X86_WRMSR);
    expect(guest.vcpu.runView.msrData).toBe(0x1_0000_0007n);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_HLT);
  });

  it("shares registers through the run page (sync regs)", () => {
    using guest = realModeGuest([0x40, 0xe6, 0x10, 0x40, 0xf4]); // inc ax; out 0x10, al; inc ax; hlt
    if ((guest.vm.checkExtension(b.KVM_CAP_SYNC_REGS) & b.KVM_SYNC_X86_REGS) === 0) return;
    const run = guest.vcpu.runView;
    run.kvmValidRegs = BigInt(b.KVM_SYNC_X86_REGS);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_IO);
    expect(run.syncRegs.regs.rax & 0xffffn).toBe(1n);
    run.syncRegs.regs.rax = 0x40n;
    run.kvmDirtyRegs = BigInt(b.KVM_SYNC_X86_REGS);
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_HLT);
    expect(run.syncRegs.regs.rax & 0xffffn).toBe(0x41n);
  });

  it("stops after every instruction while single-stepping", () => {
    using guest = realModeGuest([0x90, 0x90, 0x90, 0x90, 0xf4]);
    guest.vcpu.setGuestDebug({ control: b.KVM_GUESTDBG_ENABLE | b.KVM_GUESTDBG_SINGLESTEP });
    for (const next of [1, 2]) {
      expect(guest.vcpu.run()).toBe(b.KVM_EXIT_DEBUG);
      expect(guest.vcpu.runView.debugArchPc).toBe(BigInt(CODE + next));
    }
    guest.vcpu.setGuestDebug({ control: 0 });
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_HLT);
  });

  it.skipIf(emulated)(`stops at a hardware breakpoint${NOT_EMULATED}`, () => {
    using guest = realModeGuest([0x90, 0x90, 0x90, 0x90, 0xf4]);
    guest.vcpu.setGuestDebug({
      control: b.KVM_GUESTDBG_ENABLE | b.KVM_GUESTDBG_USE_HW_BP,
      debugreg: [CODE + 3, 0, 0, 0, 0, 0, 0, 0x402],
    });
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_DEBUG);
    expect(guest.vcpu.runView.debugArchPc).toBe(BigInt(CODE + 3));
    guest.vcpu.setGuestDebug({ control: 0 });
    expect(guest.vcpu.run()).toBe(b.KVM_EXIT_HLT);
  });

  it("exits on an instruction that cannot be emulated, with its bytes, when asked to", () => {
    using guest = realModeGuest([0x0f, 0xc7, 0x0e, 0x00, 0x50, 0xf4], (vm) =>
      vm.enableCap(b.KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1),
    ); // cmpxchg8b
    const reason = guest.vcpu.run();
    expect([b.KVM_EXIT_HLT, b.KVM_EXIT_INTERNAL_ERROR]).toContain(reason); // emulated or run where the host can
    if (reason === b.KVM_EXIT_INTERNAL_ERROR)
      expect(guest.vcpu.runView.internalSuberror).toBe(b.KVM_INTERNAL_ERROR_EMULATION);
  });

  it("keeps a stale run page readable after close, and gives no new one", () => {
    const guest = realModeGuest([0xe6, 0x10, 0xf4]);
    const { vcpu } = guest;
    expect(vcpu.run()).toBe(b.KVM_EXIT_IO);
    const stale = new DataView(vcpu.runPage);
    guest[Symbol.dispose]();
    expect(stale.getUint32(b.RUN_EXIT_REASON, true)).toBe(b.KVM_EXIT_IO);
    stale.setUint8(b.RUN_IMMEDIATE_EXIT, 1);
    expect(() => vcpu.runPage).toThrow(/closed/);
  });
});
