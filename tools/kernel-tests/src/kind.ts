/** Which kind of KVM this is, by the module's name, as `vmm doctor` tells it. */
import { existsSync } from "node:fs";
import { rawIoctl } from "./raw-ioctl.js";

/** `svm-tcg` is kvm-amd on a processor that QEMU's TCG emulates, as in the lab: its faults are the processor's, not KVM's. */
export type KvmKind = "vmx" | "svm" | "svm-tcg" | "pvm" | "unknown";

/** The CPUID signature of QEMU without an accelerator. */
const TCG = "TCGTCGTCGTCG";

export function kvmKind(): KvmKind {
  if (existsSync("/sys/module/kvm_pvm")) return "pvm";
  if (existsSync("/sys/module/kvm_amd")) return rawIoctl("hypervisor") === TCG ? "svm-tcg" : "svm";
  if (existsSync("/sys/module/kvm_intel")) return "vmx";
  return "unknown";
}
