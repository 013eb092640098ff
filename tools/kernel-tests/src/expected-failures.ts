/**
 * What a kind of KVM is known to get wrong, by test: a failure there is reported as XFAIL with this reason and fails no run. A test of this
 * list that passes is reported as well, so that the list does not outlive the fault.
 */
import type { KvmKind } from "./kind.js";

export const EXPECTED_FAILURES: Readonly<Record<KvmKind, Readonly<Record<string, string>>>> = {
  pvm: {
    "dirty-log/ring-full": "code that KVM emulates runs past the full ring, and entries are lost",
    "irq-lines/ioapic-remote-irr":
      "an interrupt is acknowledged when it is injected, so that its EOI finds nothing to do",
    "irq-lines/irqfd-resample": "an interrupt is acknowledged when it is injected, not at its EOI",
    "lapic/in-service": "an interrupt is acknowledged when it is injected, and never in the ISR",
    "lapic/nmi-blocked-in-handler": "IRET in protected mode is not emulated",
  },
  svm: {},
  vmx: {},
  unknown: {},
};
