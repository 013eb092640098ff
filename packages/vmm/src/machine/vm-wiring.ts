/** How devices reach the kernel's interrupt controllers: the same on the main thread and in every Worker. */
import type { Vm } from "@tools-kvm/kvm-binding";
import type { Wiring } from "./assembly.js";

/** `vm` gives the VM of the moment: a reset replaces it, and before the first start there is none. */
export function vmWiring(vm: () => Vm | undefined): Pick<Wiring, "irqLine" | "sendMsi" | "routeMsis"> {
  return {
    irqLine: (gsi, level) => vm()?.irqLine(gsi, level),
    sendMsi: (address, data) => void vm()?.signalMsi({ address, data }),
    routeMsis: (messages) =>
      vm()?.setGsiRouting(messages.map(({ address, data }, gsi) => ({ gsi, type: "msi" as const, address, data }))),
  };
}
