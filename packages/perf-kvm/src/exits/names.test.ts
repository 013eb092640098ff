import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { tracefs } from "../sources/trace-format.js";
import { hardwareExitDetail, hardwareExitName, ISA, userspaceExitName } from "./names.js";

describe("exit names", () => {
  it.each([
    [ISA.SVM, 0x60, "INTR"],
    [ISA.SVM, 0x72, "CPUID"],
    [ISA.SVM, 0x7b, "IOIO"],
    [ISA.SVM, 0x7f, "SHUTDOWN"],
    [ISA.SVM, 0x81, "VMMCALL"],
    [ISA.SVM, 0x8d, "XSETBV"],
    [ISA.SVM, 0x400, "NPF"],
    [ISA.SVM, 0x403, "VMGEXIT"],
    [ISA.SVM, 0x12, "CR2_WRITE"],
    [ISA.SVM, 0x4e, "EXCEPTION_14"],
    [ISA.VMX, 1, "EXTERNAL_INTERRUPT"],
    [ISA.VMX, 10, "CPUID"],
    [ISA.VMX, 30, "IO_INSTRUCTION"],
    [ISA.VMX, 48, "EPT_VIOLATION"],
    [ISA.VMX, 0x8000_0021, "INVALID_GUEST_STATE"],
    [ISA.SVM, 0x8000_0010, "VMGEXIT_PSC"],
    [ISA.PVM, 14, "EXCEPTION_14"],
    [ISA.PVM, 0x2_0003, "HC_LOAD_PGTBL"],
    [ISA.PVM, 0x4_0000, "ERETS/INTERRUPT"],
  ])("are the manual's: isa %i, reason 0x%x", (isa, reason, name) => {
    expect(hardwareExitName(isa, reason)).toBe(name);
  });

  it("show the number of a reason that nobody knows", () => {
    expect(hardwareExitName(ISA.SVM, 0x1234)).toBe("0x1234");
    expect(hardwareExitName(ISA.VMX, 999)).toBe("0x3e7");
    expect(hardwareExitName(77, 1)).toBe("0x1");
    expect(userspaceExitName(12_345)).toBe("reason 12345");
  });

  it("of exits to user space are those of linux/kvm.h", () => {
    expect([2, 5, 6, 8, 17].map(userspaceExitName)).toEqual(["IO", "HLT", "MMIO", "SHUTDOWN", "INTERNAL_ERROR"]);
  });

  const mount = tracefs();
  const format = mount === undefined ? "" : readOr(`${mount}/events/kvm/kvm_exit/format`);
  it.skipIf(format === "")(
    `cover every VMX and SVM reason of this kernel${format === "" ? " (needs a readable tracefs)" : ""}`,
    () => {
      const [vmx, svm] = format.split("__print_symbolic").slice(1);
      const numbers = (text: string) =>
        [...text.matchAll(/\{ (0x[0-9a-f]+|\d+)(?: \+ (\d+))?, "/g)].map((m) => Number(m[1]) + Number(m[2] ?? 0));
      expect(numbers(vmx!).length).toBeGreaterThan(40);
      for (const reason of numbers(vmx!)) expect(hardwareExitName(ISA.VMX, reason)).not.toMatch(/^0x/);
      // The last one is the flag of a failed entry, of VMX.
      for (const reason of numbers(svm!).filter((n) => n !== 0x8000_0000))
        expect(hardwareExitName(ISA.SVM, reason)).not.toMatch(/^0x/);
    },
  );
});

describe("exit details", () => {
  it("are the port and the direction of I/O", () => {
    expect(hardwareExitDetail(ISA.SVM, 0x7b, 0x3f8_0010)).toBe("0x3f8 out");
    expect(hardwareExitDetail(ISA.SVM, 0x7b, 0x3fd_0011)).toBe("0x3fd in");
    expect(hardwareExitDetail(ISA.VMX, 30, 0x3f8_0000)).toBe("0x3f8 out");
    expect(hardwareExitDetail(ISA.VMX, 30, 0xffff_0008)).toBe("0xffff in");
  });

  it("are the direction of an MSR access on SVM, and empty where they help nobody", () => {
    expect(hardwareExitDetail(ISA.SVM, 0x7c, 0)).toBe("read");
    expect(hardwareExitDetail(ISA.SVM, 0x7c, 1)).toBe("write");
    expect(hardwareExitDetail(ISA.SVM, 0x400, 2 ** 40)).toBe("");
  });
});

function readOr(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
