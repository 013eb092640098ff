/**
 * Writes that KVM has collected without an exit (KVM_REGISTER_COALESCED_MMIO; Documentation/virt/kvm/api.rst 4.116).
 * The ring belongs to the VM: any vCPU may find it filled, so it is emptied under a lock, before the exit that came
 * with it is handled, which keeps the guest's order.
 */
import type { CoalescedEntry, CoalescedRingView } from "@tools-kvm/kvm-binding";
import { type Bus, writeWindow } from "../bus/bus.js";
import type { SharedLock } from "../state/lock.js";

export class CoalescedWrites {
  readonly #ring: Pick<CoalescedRingView, "pending" | "drain">;
  readonly #lock: SharedLock;
  readonly #buses: { readonly pio: Bus; readonly mmio: Bus };
  readonly #deliver = (entry: CoalescedEntry): void => deliver(this.#buses, entry);

  constructor(
    ring: Pick<CoalescedRingView, "pending" | "drain">,
    lock: SharedLock,
    buses: { readonly pio: Bus; readonly mmio: Bus },
  ) {
    this.#ring = ring;
    this.#lock = lock;
    this.#buses = buses;
  }

  /** Hands every collected write to its device. Two loads when there is none. */
  drain(): void {
    if (!this.#ring.pending) return;
    this.#lock.acquire();
    try {
      this.#ring.drain(this.#deliver);
    } finally {
      this.#lock.release();
    }
  }
}

function deliver(buses: { readonly pio: Bus; readonly mmio: Bus }, { physAddr, len, pio, data }: CoalescedEntry): void {
  const bus = pio === 0 ? buses.mmio : buses.pio;
  const address = Number(physAddr);
  const window = bus.find(address);
  if (window === undefined) return;
  const length = Math.min(len, data.length);
  for (let done = 0; done < length; ) {
    const sizeBytes = length - done >= 4 ? 4 : length - done >= 2 ? 2 : 1;
    let value = 0;
    for (let i = 0; i < sizeBytes; i++) value += data[done + i]! * 2 ** (8 * i);
    writeWindow(window, address + done, sizeBytes, value);
    done += sizeBytes;
  }
}
