/** What kind of KVM this host has, as far as a machine must know before it is built. */
import { existsSync } from "node:fs";

export type KvmKind = "vmx" | "svm" | "pvm" | "unknown";

/** Which KVM module is loaded: the kernel's own names under /sys/module. */
export function kvmKind(): KvmKind {
  if (existsSync("/sys/module/kvm_pvm")) return "pvm";
  if (existsSync("/sys/module/kvm_amd")) return "svm";
  if (existsSync("/sys/module/kvm_intel")) return "vmx";
  return "unknown";
}

/** False where a guest's hypercall never comes back (kvm-pvm): such a guest must not be told of KVM's features. */
export function servesParavirtualFeatures(kind: KvmKind): boolean {
  return kind !== "pvm";
}
