/** What vCPUs do in the kernel for PCI functions: notification addresses that move, and the routes of vectors. */
import { EventFd, type IrqRoutingEntry, KvmError, type Vm } from "@tools-kvm/kvm-binding";
import { BAR, NOTIFY_MULTIPLIER } from "../virtio/pci/layout.js";
import type { PciWiring } from "./assembly.js";
import type { Window } from "./memory-map.js";
import type { InterruptLine, VirtioWires } from "./virtio.js";
import { messageRoute } from "./vm-wiring.js";

/** Drivers write a queue's number, in 16 bits. */
const NOTIFICATION_BYTES = 2;
const IOAPIC_PINS = 24;
const ISA_IRQS = 16;
const PIC_PINS = 8;
/** KVM_IRQCHIP_*. */
const IRQCHIP = { PIC_MASTER: 0, PIC_SLAVE: 1, IOAPIC: 2 } as const;

/** KVM's routes of a VM with all interrupt controllers in the kernel, which setting any other takes away. */
const KERNEL_ROUTES: readonly IrqRoutingEntry[] = Array.from({ length: IOAPIC_PINS }, (_, gsi) => gsi).flatMap(
  (gsi) => {
    const ioapic = { gsi, type: "irqchip" as const, irqchip: IRQCHIP.IOAPIC, pin: gsi };
    if (gsi >= ISA_IRQS) return [ioapic];
    const irqchip = gsi < PIC_PINS ? IRQCHIP.PIC_MASTER : IRQCHIP.PIC_SLAVE;
    return [{ gsi, type: "irqchip" as const, irqchip, pin: gsi % PIC_PINS }, ioapic];
  },
);

/** The eventfds of a function that vCPUs signal: of its queues, and of its interrupt line. */
export interface PciWires {
  readonly kicks: readonly EventFd[];
  readonly line: InterruptLine;
}

/** The same as tokens, for another thread. */
export interface SharedPciWires {
  readonly kicks: readonly number[];
  readonly line: { readonly gsi: number; readonly raise: number; readonly lowered: number };
}

export function sharePciWires(all: readonly VirtioWires[]): Map<string, SharedPciWires> {
  return new Map(
    all.flatMap(({ placement, kicks, line }) => {
      if (line === undefined) return [];
      const tokens = { gsi: line.gsi, raise: line.raise.share(), lowered: line.lowered.share() };
      return [[placement.device.name, { kicks: kicks.map((kick) => kick.share()), line: tokens }] as const];
    }),
  );
}

export function attachPciWires(shared: ReadonlyMap<string, SharedPciWires>): Map<string, PciWires> {
  return new Map(
    [...shared].map(
      ([
        device,
        {
          kicks,
          line: { gsi, raise, lowered },
        },
      ]) => {
        const line = { gsi, raise: EventFd.attach(raise), lowered: EventFd.attach(lowered) };
        return [device, { kicks: kicks.map((token) => EventFd.attach(token)), line }];
      },
    ),
  );
}

/** `wires` are those of each device; `windows` is what the machine has for them; `vm` is the VM of the moment. */
export function pciWiring(
  vm: () => Vm | undefined,
  wires: ReadonlyMap<string, PciWires>,
  windows: readonly Window[],
): PciWiring {
  const connect = (device: string, base: number, deassign: boolean): void => {
    // Elsewhere it would stand over something else; notifications come by exits then.
    if (!windows.some((window) => base >= window.base && base < window.base + window.sizeBytes)) return;
    wires.get(device)?.kicks.forEach((eventfd, queue) => {
      const addr = base + BAR.NOTIFY + NOTIFY_MULTIPLIER * queue;
      unlessTaken(() => vm()?.ioeventfd({ eventfd, addr, lengthBytes: NOTIFICATION_BYTES, deassign }));
    });
  };
  return {
    moveWindow(device, from, to) {
      connect(device, from, true);
      connect(device, to, false);
    },
    notify: (device, queue) => void wires.get(device)?.kicks[queue]?.signal(),
    raiseLine: (device) => void wires.get(device)?.line.raise.signal(),
    routeVectors: (messages) => vm()?.setGsiRouting([...KERNEL_ROUTES, ...messages.map(messageRoute)]),
    endLine(gsi) {
      for (const { line } of wires.values()) if (line.gsi === gsi) line.lowered.signal();
    },
  };
}

/** A guest that puts two functions at one address has the first one's notifications without exits, and the other's with them. */
function unlessTaken(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof KvmError)) throw error;
  }
}
