/** Which kind of KVM this is, by the module's name, as `vmm doctor` tells it. */
import { existsSync } from "node:fs";

export type KvmKind = "vmx" | "svm" | "pvm" | "unknown";

export function kvmKind(): KvmKind {
  if (existsSync("/sys/module/kvm_pvm")) return "pvm";
  if (existsSync("/sys/module/kvm_amd")) return "svm";
  if (existsSync("/sys/module/kvm_intel")) return "vmx";
  return "unknown";
}
