/** Crash reports of recorded exits: no KVM, no guest. */
import {
  KVM_EXIT_FAIL_ENTRY,
  KVM_EXIT_HYPERCALL,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_SHUTDOWN,
  KVM_INTERNAL_ERROR_DELIVERY_EV,
  KVM_INTERNAL_ERROR_EMULATION,
  Regs,
  Run,
  Sregs,
  type Vcpu,
} from "@tools-kvm/kvm-binding";
import { describe, expect, it } from "vitest";
import { crashScreen } from "../cli/reports.js";
import { crashReport } from "./crash-report.js";
import type { GuestRam } from "./guest-ram.js";

const CODE = 0x2000;
const code = Uint8Array.of(0x0f, 0x0b, 0x90);

/** A vCPU that stands at `rip`, and RAM of one page with code in it. */
function report(reason: number, fill: (run: Run) => void = () => {}, rip = CODE) {
  const run = new Run(new Uint8Array(Run.sizeBytes));
  fill(run);
  const vcpu = {
    getRegs: () => Regs.from({ rip, rflags: 2 }),
    getSregs: () => Sregs.from({ efer: 0x500n, cr0: 0x8000_0011n }),
    translate: (address: bigint) => ({ valid: true, physicalAddress: address, writable: true, usermode: false }),
  } as unknown as Vcpu;
  const ram = {
    view(gpa: number, length: number) {
      if (gpa !== CODE) throw new RangeError("not RAM");
      return Uint8Array.from({ length }, (_, i) => code[i] ?? 0);
    },
  } as unknown as GuestRam;
  return crashReport({ vcpu, index: 1, end: { why: "crashed", reason }, runPage: run.bytes, ram });
}

describe("a crash report", () => {
  it("has where the vCPU stood and the bytes there", () => {
    expect(report(KVM_EXIT_SHUTDOWN)).toMatchObject({
      vcpu: 1,
      summary: expect.stringContaining("triple fault"),
      instructionBytes: `0f 0b 90${" 00".repeat(13)}`,
      registers: { rip: "0x2000", mode: "long" },
    });
  });

  it("says so when there are no bytes, and that this is why", () => {
    expect(report(KVM_EXIT_SHUTDOWN, undefined, 0xfee0_0000)).toMatchObject({
      instructionBytes: "",
      hint: expect.stringContaining("not in RAM"),
    });
  });

  it("names an exit that no machine handles", () => {
    expect(report(KVM_EXIT_HYPERCALL).summary).toBe("exit HYPERCALL, which this machine does not handle");
    expect(report(9999).summary).toBe("exit reason 9999, which this machine does not handle");
  });

  it("names what the processor refused", () => {
    const { details } = report(KVM_EXIT_FAIL_ENTRY, (run) =>
      run.assign({ failEntryHardwareEntryFailureReason: 0x80000021n, failEntryCpu: 3 }),
    );
    expect(details).toEqual(["hardware reason 0x80000021, CPU 3"]);
  });

  it("has the kernel's data for an internal error, a few numbers a line", () => {
    const { summary, details } = report(KVM_EXIT_INTERNAL_ERROR, (run) => {
      run.assign({ internalSuberror: KVM_INTERNAL_ERROR_DELIVERY_EV, internalNdata: 4 });
      run.internalData.set([1n, 2n, 3n, 2n ** 64n - 1n]);
    });
    expect(summary).toBe("KVM error: an exit during the delivery of an event");
    expect(details).toEqual(["data 0x1 0x2 0x3", "data 0xffffffffffffffff"]);
  });

  it("fits on a screen of 80 by 24 at its longest", () => {
    const longest = report(KVM_EXIT_INTERNAL_ERROR, (run) => {
      run.assign({ internalSuberror: KVM_INTERNAL_ERROR_DELIVERY_EV, internalNdata: 0xffff });
      run.internalData.fill(2n ** 64n - 1n);
    });
    const lines = crashScreen("vm-4194304", longest).split("\n");
    expect(lines.length).toBeLessThanOrEqual(24);
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
    const emulation = report(KVM_EXIT_INTERNAL_ERROR, (run) =>
      run.assign({ internalSuberror: KVM_INTERNAL_ERROR_EMULATION }),
    );
    expect(crashScreen("vm-4194304", emulation)).toContain("vmm doctor");
  });
});
