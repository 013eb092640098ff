/** The machine's windows as slots of the exit ledger (kvm-binding's format), in the order of `namedExits`. */
import { KVM_EXIT_IO, KVM_EXIT_MMIO, LedgerDirection, type LedgerSlot } from "@tools-kvm/kvm-binding";
import type { NamedExit } from "./assembly.js";

export function ledgerSlots(exits: readonly NamedExit[]): LedgerSlot[] {
  return exits.map(({ bus, direction, device, base }) => ({
    reason: bus === "pio" ? KVM_EXIT_IO : KVM_EXIT_MMIO,
    direction: direction === "read" ? LedgerDirection.in : LedgerDirection.out,
    device,
    detail: base,
  }));
}
