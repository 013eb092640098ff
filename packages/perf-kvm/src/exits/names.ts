/** Exits by name, as the processor's manual or linux/kvm.h has it; a number without a name stays a number. */
import { exitReasonNames } from "@tools-kvm/kvm-binding/uapi";
import { PVM_REASONS } from "../reasons/pvm.js";
import type { ExitReason } from "../reasons/reason.js";
import { SVM_REASONS } from "../reasons/svm.js";
import { VMX_BASIC_REASON, VMX_REASONS } from "../reasons/vmx.js";

/** `isa` of the kvm_exit tracepoint (arch/x86/kvm/trace.h). */
export const ISA = { VMX: 1, SVM: 2, PVM: 3 } as const;

const NAMES: Readonly<Record<number, ReadonlyMap<number, string>>> = {
  [ISA.VMX]: namesByCode(VMX_REASONS),
  [ISA.SVM]: namesByCode(SVM_REASONS),
  [ISA.PVM]: namesByCode(PVM_REASONS),
};

/** A number that revisions of the kernel use differently has all its names. */
function namesByCode(reasons: readonly ExitReason[]): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const { codes, name } of reasons) {
    for (const code of codes) names.set(code, names.has(code) ? `${names.get(code)}/${name}` : name);
  }
  return names;
}

export function hardwareExitName(isa: number, reason: number): string {
  const name = NAMES[isa]?.get(isa === ISA.VMX ? reason & VMX_BASIC_REASON : reason);
  return name ?? `0x${reason.toString(16)}`;
}

/** KVM_EXIT_*, without the prefix. */
export function userspaceExitName(reason: number): string {
  return exitReasonNames.get(reason) ?? `reason ${reason}`;
}

const SVM_IOIO = 0x7b;
const SVM_MSR = 0x7c;
const VMX_IO_INSTRUCTION = 30;
/** Port and direction in the exit information: SVM EXITINFO1 (APM volume 2, 15.10.2), VMX exit qualification (SDM 28.2.1). */
const SVM_IO_IN = 0x1;
const VMX_IO_IN = 0x8;

/** True when the exit information makes a difference that is worth a row of its own. */
export function hasDetail(isa: number, reason: number): boolean {
  return isa === ISA.VMX
    ? (reason & VMX_BASIC_REASON) === VMX_IO_INSTRUCTION
    : reason === SVM_IOIO || reason === SVM_MSR;
}

/** What the exit information says beside the reason; empty when nothing that helps. */
export function hardwareExitDetail(isa: number, reason: number, info1: number): string {
  if (isa === ISA.SVM && reason === SVM_IOIO) return port(info1, SVM_IO_IN);
  if (isa === ISA.SVM && reason === SVM_MSR) return info1 === 0 ? "read" : "write";
  if (isa === ISA.VMX && (reason & VMX_BASIC_REASON) === VMX_IO_INSTRUCTION) return port(info1, VMX_IO_IN);
  return "";
}

function port(info1: number, inBit: number): string {
  const low = info1 % 2 ** 32;
  return `0x${(low >>> 16).toString(16)} ${(low & inBit) !== 0 ? "in" : "out"}`;
}
