/**
 * What a kind of KVM is known to get wrong, by test: a failure there is reported as XFAIL with this reason and fails no run. A test of this
 * list that passes is reported as well, so that the list does not outlive the fault.
 */
import type { KvmKind } from "./kind.js";

export const EXPECTED_FAILURES: Readonly<Record<KvmKind, Readonly<Record<string, string>>>> = {
  pvm: {
    "dirty-log/ring-full": "code that KVM emulates runs past the full ring, and entries are lost more often than not",
    "cpuid/round-trip": "KVM adds leaves of its own to those that were set",
    "msrs/pat-types": "IA32_PAT takes every value",
    "debug/single-step-io":
      "code that KVM emulates loses the step's exit behind a port's: the next one is a step later",
    "debug/watchpoint": "watchpoints do not fire in emulated code",
    "debug/watchpoint-access": "watchpoints do not fire in emulated code",
    "debug/software-breakpoint": "INT3 is not emulated",
    "debug/software-breakpoint-off": "INT3 is not emulated",
    "time/tsc-set": "the guest's TSC is the host's: setting it succeeds and does nothing",
    "time/tsc-offset": "the guest's TSC is the host's: setting its offset succeeds and does nothing",
    "stats/io-exits": "port exits of emulated code are not counted",
    "irq-lines/ioapic-remote-irr":
      "an interrupt is acknowledged when it is injected, so that its EOI finds nothing to do",
    "irq-lines/irqfd-resample": "an interrupt is acknowledged when it is injected, not at its EOI",
    "lapic/in-service": "an interrupt is acknowledged when it is injected, and never in the ISR",
    "tracepoints/entry-exit": "code that KVM emulates neither enters nor exits",
    "tracepoints/exit-of-io": "code that KVM emulates neither enters nor exits",
    "tracepoints/several-vcpus": "code that KVM emulates neither enters nor exits",
    "tracepoints/inject": "the interrupts of emulated code are not traced",
    "lapic/nmi-blocked-in-handler": "IRET in protected mode is not emulated",
  },
  svm: {},
  "svm-tcg": {
    "debug/hardware-breakpoint": "TCG has no hardware breakpoints in a nested guest",
    "debug/hardware-breakpoint-of-four": "TCG has no hardware breakpoints in a nested guest",
    "debug/watchpoint": "TCG has no hardware breakpoints in a nested guest",
    "debug/watchpoint-access": "TCG has no hardware breakpoints in a nested guest",
    "debug/software-breakpoint": "TCG does not intercept a nested guest's INT3",
    "debug/inject-breakpoint": "an exception 3 injected without INT3 is lost on TCG",
    "paging/fault-reserved-bit": "TCG leaves the present bit out of the error code",
  },
  vmx: {},
  unknown: {},
};
