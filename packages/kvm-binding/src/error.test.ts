import { describe, expect, it } from "vitest";
import { KvmError } from "./error.js";
import { EINVAL, EPERM } from "./index.js";

describe("KvmError", () => {
  it("says what was tried, what the kernel said and what to do", () => {
    const error = new KvmError("ERRNO", "perf_event_open", EPERM, "type 2, config 300");
    expect(error.message).toBe(
      "perf_event_open failed with EPERM: type 2, config 300 (lower /proc/sys/kernel/perf_event_paranoid, or give CAP_PERFMON)",
    );
    expect(error).toMatchObject({
      name: "KvmError",
      code: "ERRNO",
      ioctl: "perf_event_open",
      errno: 1,
      errnoName: "EPERM",
    });
  });

  it("does not blame the kernel when the kernel was not asked", () => {
    const error = new KvmError("CLOSED", "KVM_GET_REGS", 0, "the handle is closed");
    expect(error.message).toBe("KVM_GET_REGS: the handle is closed");
    expect(error.errnoName).toBe("");
  });

  it("names an errno it does not know by number", () => {
    expect(new KvmError("ERRNO", "x", 999, "").errnoName).toBe("errno 999");
  });

  it("knows the errors of another copy of the package by instanceof, and nothing else", () => {
    const foreign = Object.assign(new Error("x"), { [Symbol.for("@tools-kvm/kvm-binding KvmError")]: true });
    expect(foreign).toBeInstanceOf(KvmError);
    expect(new Error("x")).not.toBeInstanceOf(KvmError);
    expect(null).not.toBeInstanceOf(KvmError);
  });

  it("keeps the cause", () => {
    const cause = new Error("inner");
    expect(new KvmError("ERRNO", "x", EINVAL, "", { cause }).cause).toBe(cause);
  });
});
