/**
 * Interrupt lines of PCI functions with a split irqchip: from a reason in the ISR by an irqfd to the message of our IOAPIC's
 * pin, and from the EOI of a local APIC back to whoever has a reason left. Whatever is masked when, no reason is forgotten.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import { readWindow, writeWindow } from "../bus/bus.js";
import { endOfInterrupt, IOAPIC, IOAPIC_REGISTER, REDIRECTION } from "../devices/ioapic/ioapic.js";
import { BAR, COMMAND, CONFIG } from "../virtio/pci/layout.js";
import { hasReason, interruptDriver, usesLine } from "../virtio/pci/msix.js";
import { noteInterrupt } from "../virtio/transport.js";
import type { PciState } from "../virtio/transport-pci.js";
import { Assembly, createState, type RoutedMessage } from "./assembly.js";
import { IOAPIC_BASE, PCI_ECAM_BASE } from "./memory-map.js";
import type { MachineSpec } from "./spec.js";
import { placeVirtio } from "./virtio.js";

/** The first and the fifth are on the same line. */
const spec: MachineSpec = {
  name: "lines",
  cpus: 1,
  memoryBytes: 2 ** 24,
  irqchip: "split",
  virtio: Array.from({ length: 5 }, () => ({ kind: "entropy" as const })),
  bus: "pci",
  testDevices: false,
};
const FUNCTIONS = placeVirtio(spec).map(({ device, base, slot }) => ({ name: device.name, base, slot: slot! }));
const FIRST = FUNCTIONS[0]!;
const SHARED_LINE = [FIRST, FUNCTIONS[4]!];
const PIN = 17;
const VECTOR = 0x41;
const ON = COMMAND.MEMORY | COMMAND.BUS_MASTER;

/** A guest on one CPU, KVM's routes and local APIC, and the functions' I/O Workers. */
class Guest {
  #routes: readonly RoutedMessage[] = [];
  /** The vector is requested of the local APIC. */
  #requested = false;
  handled = 0;
  readonly #assembly: Assembly;

  constructor() {
    const nothing = (): void => {};
    this.#assembly = new Assembly(spec, createState(spec), {
      irqLine: nothing,
      sendMsi: () => {
        this.#requested = true;
      },
      routeMsis: (messages) => {
        this.#routes = messages;
      },
      pci: {
        moveWindow: nothing,
        notify: nothing,
        routeVectors: nothing,
        raiseLine: () => this.#raise(),
        endLine: (gsi) => this.#endLine(gsi),
      },
      wakeReader: nothing,
      request: nothing,
      memory: () => undefined,
      fwCfgItem: () => undefined,
      flash: () => undefined,
      nowNs: () => 0,
      wallClockMs: () => 0,
    });
    this.#assembly.reset();
    for (const { slot } of SHARED_LINE) this.command(slot, ON);
    this.setMask(false);
  }

  #write(address: number, sizeBytes: number, value: number): void {
    writeWindow(this.#assembly.mmio.find(address)!, address, sizeBytes, value);
  }
  #state(name: string): PciState {
    return this.#assembly.device(name).state as PciState;
  }
  setMask(masked: boolean): void {
    this.#write(IOAPIC_BASE + IOAPIC.IOREGSEL, 4, IOAPIC_REGISTER.REDIRECTION + 2 * PIN);
    this.#write(IOAPIC_BASE + IOAPIC.IOWIN, 4, VECTOR | REDIRECTION.LEVEL | (masked ? REDIRECTION.MASKED : 0));
  }
  command(slot: number, value: number): void {
    this.#write(PCI_ECAM_BASE + 0x8000 * slot + CONFIG.COMMAND, 2, value);
  }

  /** The irqfd of the line: what has no route goes nowhere. */
  #raise(): void {
    if (this.#routes.some(({ gsi, data }) => gsi === PIN && (data & 0xff) === VECTOR)) this.#requested = true;
  }
  /** What the functions' I/O Workers do when the line has gone down. */
  #endLine(gsi: number): void {
    if (gsi !== PIN) return;
    for (const { name } of SHARED_LINE) {
      const state = this.#state(name);
      if (hasReason(state) && usesLine(state)) this.#raise();
    }
  }
  /** A function has something to say. */
  interrupt(name: string): void {
    const state = this.#state(name);
    noteInterrupt(state);
    interruptDriver(state, 0, { vector: () => expect.fail("no MSI-X here"), line: () => this.#raise() });
  }
  /** Takes the interrupt, if there is one: reads the ISR of the first `asked` functions, and ends it. */
  take(asked: number): void {
    if (!this.#requested) return;
    this.#requested = false;
    for (const { base } of SHARED_LINE.slice(0, asked)) {
      const address = base + BAR.ISR;
      if (readWindow(this.#assembly.mmio.find(address)!, address, 1) !== 0) this.handled++;
    }
    const ioapic = this.#assembly.device("ioapic");
    endOfInterrupt(ioapic.state as Parameters<typeof endOfInterrupt>[0], VECTOR, ioapic.port);
  }
  get isRequested(): boolean {
    return this.#requested;
  }
  get reasons(): number {
    return SHARED_LINE.filter(({ name }) => hasReason(this.#state(name))).length;
  }
}

it("a reason for an interrupt is never forgotten, whatever is masked or disabled when", () => {
  const which = fc.constantFrom(...SHARED_LINE);
  const step = fc.oneof(
    fc.record({ kind: fc.constant("interrupt" as const), which }),
    fc.record({ kind: fc.constant("mask" as const), masked: fc.boolean() }),
    fc.record({ kind: fc.constant("disable" as const), which, disabled: fc.boolean() }),
    // A handler that stops at the first function that had a reason leaves the other's for next time.
    fc.record({ kind: fc.constant("take" as const), asked: fc.constantFrom(1, 2) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const guest = new Guest();
      for (const each of steps) {
        if (each.kind === "interrupt") guest.interrupt(each.which.name);
        else if (each.kind === "mask") guest.setMask(each.masked);
        else if (each.kind === "disable")
          guest.command(each.which.slot, each.disabled ? ON | COMMAND.INTERRUPT_DISABLE : ON);
        else guest.take(each.asked);
      }
      guest.setMask(false);
      for (const { slot } of SHARED_LINE) guest.command(slot, ON);
      expect(guest.isRequested || guest.reasons === 0).toBe(true);
      for (let taken = 0; guest.isRequested; taken++) {
        expect(taken).toBeLessThan(4);
        guest.take(2);
      }
      expect(guest.reasons).toBe(0);
    }),
    { numRuns: 500 },
  );
});

it("a masked pin interrupts nobody, and the reason is heard of when it no longer is", () => {
  const guest = new Guest();
  guest.setMask(true);
  guest.interrupt(FIRST.name);
  expect([guest.isRequested, guest.reasons]).toEqual([false, 1]);
  guest.setMask(false);
  expect(guest.isRequested).toBe(true);
  guest.take(2);
  expect([guest.handled, guest.reasons, guest.isRequested]).toEqual([1, 0, false]);
});
