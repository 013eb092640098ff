/**
 * What there is to say when a guest cannot go on: why, where each register stood, and which instruction bytes were
 * under RIP. Exit details: Documentation/virt/kvm/api.rst, section 5.
 */
import {
  KVM_EXIT_FAIL_ENTRY,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_SHUTDOWN,
  KVM_INTERNAL_ERROR_DELIVERY_EV,
  KVM_INTERNAL_ERROR_EMULATION,
  KVM_INTERNAL_ERROR_SIMUL_EX,
  KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
  Run,
  type Vcpu,
} from "@tools-kvm/kvm-binding";
import { exitReasonName } from "./exit-name.js";
import { type RegisterDump, registerDump } from "./registers.js";
import type { LoopEnd } from "./vcpu-loop.js";

export interface CrashReport {
  readonly vcpu: number;
  /** One line: what happened. */
  readonly summary: string;
  /** What the kernel said beyond the reason, one line each. */
  readonly details: readonly string[];
  readonly registers: RegisterDump;
  /** Up to 16 bytes at RIP as hexadecimal; empty when RIP is not in RAM. */
  readonly instructionBytes: string;
  /** What to try next. */
  readonly hint: string;
}

const INTERNAL_ERRORS: Record<number, string> = {
  [KVM_INTERNAL_ERROR_EMULATION]: "KVM could not emulate the instruction",
  [KVM_INTERNAL_ERROR_SIMUL_EX]: "two exceptions at once",
  [KVM_INTERNAL_ERROR_DELIVERY_EV]: "an exit during the delivery of an event",
  [KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON]: "an exit that KVM does not know",
};

const INSTRUCTION_BYTES = 16;
/** Numbers of 18 characters, on a line of 80. */
const DATA_PER_LINE = 3;

export interface CrashSite {
  readonly vcpu: Vcpu;
  readonly index: number;
  readonly end: LoopEnd;
  /** The beginning of kvm_run at the last exit. */
  readonly runPage: Uint8Array;
  /** The guest's memory as far as it is RAM or ROM; throws where it is neither. */
  readonly ram: { view(gpa: number, length: number): Uint8Array };
}

export function crashReport({ vcpu, index, end, runPage, ram }: CrashSite): CrashReport {
  const registers = registerDump(vcpu);
  const bytes = instructionBytes(vcpu, ram, registers);
  const described = describe(end, runPage);
  const hint = bytes === "" ? "rip is not in RAM: the guest jumped to device memory or to nothing" : described.hint;
  return { vcpu: index, ...described, registers, instructionBytes: bytes, hint };
}

function describe(end: LoopEnd, runPage: Uint8Array): Pick<CrashReport, "summary" | "details" | "hint"> {
  if (end.why !== "crashed") {
    return {
      summary: "the guest halted and nothing can wake it",
      details: [],
      hint: "give it an interrupt controller",
    };
  }
  const run = new Run(padded(runPage));
  switch (end.reason) {
    case KVM_EXIT_SHUTDOWN:
      return {
        summary: "triple fault: no exception handler could be entered",
        details: [],
        hint: "look at the IDT (idt, above) and at what the instruction touches",
      };
    case KVM_EXIT_FAIL_ENTRY:
      return {
        summary: "the processor refused to enter the guest",
        details: [`hardware reason 0x${run.failEntryHardwareEntryFailureReason.toString(16)}, CPU ${run.failEntryCpu}`],
        hint: "a register holds a state the processor does not allow",
      };
    case KVM_EXIT_INTERNAL_ERROR:
      return internalError(run);
    default:
      return {
        summary: `exit ${exitReasonName(end.reason)}, which this machine does not handle`,
        details: [],
        hint: "say what guest this is: it asks for something we did not build",
      };
  }
}

function internalError(run: Run): Pick<CrashReport, "summary" | "details" | "hint"> {
  const suberror = run.internalSuberror;
  const what = INTERNAL_ERRORS[suberror] ?? `internal error ${suberror}`;
  if (suberror === KVM_INTERNAL_ERROR_EMULATION) {
    return { summary: what, details: [], hint: "`vmm doctor` says which instructions this host cannot emulate" };
  }
  const data = [...run.internalData.slice(0, Math.min(run.internalNdata, 16))].map(
    (value) => `0x${value.toString(16)}`,
  );
  const lines = Array.from({ length: Math.ceil(data.length / DATA_PER_LINE) }, (_, line) =>
    data.slice(line * DATA_PER_LINE, (line + 1) * DATA_PER_LINE).join(" "),
  );
  const summary = `KVM error: ${what}`;
  return { summary, details: lines.map((line) => `data ${line}`), hint: "the host's dmesg may say more" };
}

/** The worker sends only the part of the page that describes the exit; the view wants a whole struct. */
function padded(runPage: Uint8Array): Uint8Array {
  const whole = new Uint8Array(Run.sizeBytes);
  whole.set(runPage.subarray(0, whole.length));
  return whole;
}

function instructionBytes(vcpu: Vcpu, ram: CrashSite["ram"], registers: RegisterDump): string {
  try {
    const linear = BigInt(registers.rip) + (registers.mode === "long" ? 0n : BigInt(registers.segments.cs.base));
    const translation = vcpu.translate(linear);
    if (!translation.valid) return "";
    const gpa = Number(translation.physicalAddress);
    const length = Math.min(INSTRUCTION_BYTES, 4096 - (gpa % 4096));
    return [...ram.view(gpa, length)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  } catch {
    return "";
  }
}
