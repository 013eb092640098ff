/** Exits of one kind of access, whoever names them: what `--event` chooses, at capture where the kernel can. */
import { KVM_EXIT_IO, KVM_EXIT_MMIO, KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR } from "@tools-kvm/kvm-binding";
import { EVENT } from "../columns/events.js";

export const EVENT_KINDS = ["exit", "mmio", "ioport", "msr"] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

interface Access {
  /** VMX and SVM reasons that such an access may be, by number. */
  readonly vmx: readonly number[];
  readonly svm: readonly number[];
  /** Their names, and those of the exits to user space. */
  readonly names: readonly string[];
  /** KVM_EXIT_*. */
  readonly userspace: readonly number[];
  /** The tracepoint that tells the address, where the exit itself does not: an exit without it is none of this kind. */
  readonly detail: { readonly tracepoint: string; readonly event: number } | undefined;
}

const ACCESSES: Readonly<Record<Exclude<EventKind, "exit">, Access>> = {
  mmio: {
    vmx: [48, 49],
    svm: [0x400],
    names: ["EPT_VIOLATION", "EPT_MISCONFIG", "NPF", "MMIO"],
    userspace: [KVM_EXIT_MMIO],
    detail: { tracepoint: "kvm_mmio", event: EVENT.MMIO },
  },
  ioport: {
    vmx: [30],
    svm: [0x7b],
    names: ["IO_INSTRUCTION", "IOIO", "IO"],
    userspace: [KVM_EXIT_IO],
    detail: undefined,
  },
  msr: {
    vmx: [31, 32, 84, 85],
    svm: [0x7c],
    names: ["MSR_READ", "MSR_WRITE", "RDMSR_IMMEDIATE", "WRMSRNS_IMMEDIATE", "MSR", "X86_RDMSR", "X86_WRMSR"],
    userspace: [KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR],
    detail: { tracepoint: "kvm_msr", event: EVENT.MSR },
  },
};

/** True when a row of this reason may be of the kind. */
export function isOfKind(kind: EventKind, reason: string): boolean {
  return kind === "exit" || ACCESSES[kind].names.includes(reason);
}

/** The further tracepoint that tells addresses of this kind; undefined when none is needed. */
export function detailOf(kind: EventKind): Access["detail"] {
  return kind === "exit" ? undefined : ACCESSES[kind].detail;
}

/** What the kernel is to write of a tracepoint (Documentation/trace/events.rst, filters); undefined for all. */
export function captureFilter(kind: EventKind, tracepoint: string): string | undefined {
  if (kind === "exit") return undefined;
  const { vmx, svm, userspace } = ACCESSES[kind];
  const anyOf = (field: string, values: readonly number[]): string =>
    values.map((value) => `${field} == ${value}`).join(" || ");
  if (tracepoint === "kvm_exit") {
    return `(isa == 1 && (${anyOf("exit_reason", vmx)})) || (isa == 2 && (${anyOf("exit_reason", svm)}))`;
  }
  return tracepoint === "kvm_userspace_exit" ? anyOf("reason", userspace) : undefined;
}
