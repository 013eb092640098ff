/** How devices reach the kernel's interrupt controllers: the same on the main thread and in every Worker. */
import type { IrqRoutingEntry, Vm } from "@tools-kvm/kvm-binding";
import type { RoutedMessage, Wiring } from "./assembly.js";

/** `vm` gives the VM of the moment: a reset replaces it, and before the first start there is none. */
export function vmWiring(vm: () => Vm | undefined): Pick<Wiring, "irqLine" | "sendMsi" | "routeMsis"> {
  return {
    irqLine: (gsi, level) => vm()?.irqLine(gsi, level),
    sendMsi: (address, data) => void vm()?.signalMsi({ address, data }),
    routeMsis: (messages) => vm()?.setGsiRouting(messages.map(messageRoute)),
  };
}

/** As KVM_SET_GSI_ROUTING has it. */
export function messageRoute({ gsi, address, addressHigh = 0, data }: RoutedMessage): IrqRoutingEntry {
  return { gsi, type: "msi", address: (BigInt(addressHigh) << 32n) + BigInt(address), data };
}
