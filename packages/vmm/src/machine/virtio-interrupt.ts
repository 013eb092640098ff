/** The way from a virtio device to its driver's interrupt, whichever bus it is on. */
import type { EventFd } from "@tools-kvm/kvm-binding";
import { interruptDriver } from "../virtio/pci/msix.js";
import type { TransportState } from "../virtio/transport.js";
import type { PciState } from "../virtio/transport-pci.js";

/** On PCI, what the driver has set up says which vector it is. */
export function interruptBy(
  registers: TransportState,
  interrupts: readonly EventFd[],
  line: EventFd | undefined,
): (queue?: number) => void {
  if (line === undefined) return () => interrupts[0]!.signal();
  const pci = registers as PciState;
  const ways = { vector: (index: number) => interrupts[index]!.signal(), line: () => line.signal() };
  const configuration = pci.vectorOf.length - 1;
  return (queue = configuration) => interruptDriver(pci, queue, ways);
}
