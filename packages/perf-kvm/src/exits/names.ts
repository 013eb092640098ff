/** Exits by name, as the processor's manual or linux/kvm.h has it; a number without a name stays a number. */
import { exitReasonNames } from "@tools-kvm/kvm-binding/uapi";
import { SVM_EXITS } from "./svm.js";
import { VMX_EXITS } from "./vmx.js";

/** `isa` of the kvm_exit tracepoint (arch/x86/kvm/trace.h). */
export const ISA = { VMX: 1, SVM: 2 } as const;

/** The basic reason is in the low 16 bits; bit 31 says that the entry failed (SDM volume 3, 25.9.1). */
const VMX_BASIC_REASON = 0xffff;

export function hardwareExitName(isa: number, reason: number): string {
  const name = isa === ISA.VMX ? VMX_EXITS.get(reason & VMX_BASIC_REASON) : SVM_EXITS.get(reason);
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
